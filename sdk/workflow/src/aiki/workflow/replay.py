"""Replay of a recorded run against the code as it is now, without an engine."""

from typing import Any, Generic, Literal, TypeVar

import msgspec

from aiki.actors.history import decode_segment
from aiki.client import RunHistory
from aiki.journal import Claims, Entry, RunMachine, RunState, StepId, decode_entries, decode_state, reopened
from aiki.types.errors import DefinitionError, NonDeterminismError, PayloadError, PayloadLost
from aiki.types.failure import ErrorInfo
from aiki.types.states import is_final
from aiki.workflow.definition import Workflow

__all__ = ["Replayed", "replay"]

Output = TypeVar("Output")


class Replayed(msgspec.Struct, Generic[Output], frozen=True, kw_only=True):
    """What came of it: `state` is "running" when the code waits for what the history does not hold (any more).

    `output` is the result when it is "completed", `error` the reason when it is "failed".
    """

    state: Literal["completed", "failed", "running"]
    output: Output | None = None
    error: ErrorInfo | None = None
    entries: int = 0
    """How many journal entries were replayed."""


def replay(workflow: Workflow[Any, Output], history: RunHistory | bytes | str) -> Replayed[Output]:
    """Run the workflow's code over a recorded history; no task runs, nothing is sent.

    `history` is what `handle.history()` answers, or its JSON, as `aiki run history ID --export FILE` writes it.

    Raises `NonDeterminismError` when the code does not fit: when it calls other steps than those recorded, or comes to another end;
    `DefinitionError` when it is the history of another workflow.
    """
    record = history if isinstance(history, RunHistory) else RunHistory.from_json(history)
    if record.workflow != workflow.name:
        raise DefinitionError(f"the history is of workflow {record.workflow!r}, not of {workflow.name!r}", where="replay")
    try:
        recorded = decode_state(record.state)
        entries: list[Entry] = [entry for segment in record.segments for entry in decode_entries(decode_segment(segment))]
        entries += decode_entries(recorded.entries)
    except msgspec.DecodeError as error:
        raise PayloadError(f"the history of run {record.run_id} cannot be read: {error}", where="history") from error
    # The whole journal, but not the end: the code itself must come to it.
    state = reopened(recorded) if is_final(recorded.status) else decode_state(record.state)
    machine = RunMachine(state, workflow.program, history=entries, retry=workflow.retry)
    try:
        machine.begin(recorded.updated_at)
        if machine.claims.missing:
            lost = next(iter(machine.claims.missing))
            raise PayloadLost(
                f"run {record.run_id}: its history lacks the large payload {lost.sha256[:12]}… of {lost.size:,} bytes",
                sha256=lost.sha256,
                size=lost.size,
            )
        issued = machine.issued
        present = machine.snapshot(recorded.updated_at)
        _compare(recorded, present, issued, between_attempts=recorded.retry_at is not None)
        return _outcome(workflow, present, len(entries), machine.claims)
    finally:
        machine.evict()


def _compare(recorded: RunState, present: RunState, issued: set[StepId], *, between_attempts: bool) -> None:
    if present.error is not None and present.error.code == NonDeterminismError.code and present.error != recorded.error:
        raise NonDeterminismError(present.error.message, run_id=recorded.run_id, recorded=[], issued=[])
    before = {(step.address, step.ordinal) for step in recorded.pending}
    waiting = {(step.address, step.ordinal) for step in present.pending}
    new = [f"{address}, call {ordinal + 1}" for address, ordinal in sorted(waiting - before)]
    gone = [f"{address}, call {ordinal + 1}" for address, ordinal in sorted(before - issued)]
    if recorded.status in ("completed", "failed"):
        if present.status != recorded.status or present.result != recorded.result:
            raise NonDeterminismError(
                f"run {recorded.run_id} was recorded as {_end(recorded)}, but the code as it is now comes to {_end(present)}"
                + (f"; it calls steps that are not recorded: {', '.join(new)}" if new else ""),
                run_id=recorded.run_id,
                recorded=gone,
                issued=new,
            )
    elif not is_final(recorded.status) and gone and new and not between_attempts:
        raise NonDeterminismError(
            f"run {recorded.run_id} waits for {', '.join(gone)}, but the code as it is now calls {', '.join(new)} in its place",
            run_id=recorded.run_id,
            recorded=gone,
            issued=new,
        )


def _end(state: RunState) -> str:
    if state.status == "completed":
        return f"completed with {(state.result or b'null').decode()}"
    return f"failed with {state.error}" if state.status == "failed" else "a point where it waits"


def _outcome(workflow: Workflow[Any, Output], state: RunState, entries: int, claims: Claims) -> Replayed[Output]:
    if state.status == "completed":
        result = claims.open(state.result or b"null") or b"null"
        output = workflow.output_schema.decode(result, f"result of workflow {workflow.name!r}")
        return Replayed(state="completed", output=output, entries=entries)
    if state.status == "failed":
        return Replayed(state="failed", error=state.error, entries=entries)
    return Replayed(state="running", entries=entries)
