"""What a run waits for, since when, and what will wake it."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Literal

import msgspec

from aiki.actors.outbox import DEFAULT_QUEUE
from aiki.client.holders import HolderView
from aiki.journal import PendingStep, RunState, StepId
from aiki.types.admission import NO_KEY, key_of
from aiki.types.identifiers import RunId
from aiki.types.messages import attempts_made
from aiki.types.states import is_final

__all__ = ["WaitView", "wait_views"]


class WaitView(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a run waits for. `what` says it in words, and `wakes` what will wake the run.

    `until`: when it is over whatever happens, as far as that is known. `since`: of a timer, when the run was written last.
    """

    kind: Literal["task", "step", "child", "event", "timer", "retry", "attempt", "start", "pause", "turns", "gate", "place"]
    what: str
    since: datetime
    wakes: str
    name: str = ""
    until: datetime | None = None
    run_id: RunId | None = None
    """The sub-workflow."""


def wait_views(state: RunState, at_gate: frozenset[StepId] = frozenset(), line: HolderView | None = None) -> tuple[WaitView, ...]:
    """Of a stored run; what stands in the way of everything else comes alone. `at_gate`: steps that are known to wait for a place; `line`:
    who is in the way of the run itself."""
    return () if is_final(state.status) else tuple(_waits(state, at_gate, line))


def _waits(state: RunState, at_gate: frozenset[StepId], line: HolderView | None) -> Iterator[WaitView]:
    written = _instant(state.updated_at)
    if state.held is not None:
        wakes = "the next delivery of its message, from time to time"
        yield WaitView(kind="turns", what=f"its turns to work again: {state.held}", since=written, wakes=wakes)
    elif state.paused is not None:
        why = f": {state.paused.reason}" if state.paused.reason else ""
        yield WaitView(kind="pause", what=f"its pause to end{why}", since=_instant(state.paused.at), wakes="`resume` (or `cancel`)")
    elif state.line is not None and state.line.waits and state.begins_at is not None:
        of = "" if state.line.key == NO_KEY else f" with key {key_of(state.line.key)!r}"
        who = "" if line is None or not line.run_ids else f": {', '.join(line.run_ids)} under way, {line.before} before it"
        what = f"a place among the runs of {state.workflow}{of}{who}"
        since = _instant(state.line.since)
        yield WaitView(kind="place", what=what, name=state.workflow, since=since, wakes="the end of one of them (or `cancel`)")
    elif state.begins_at is not None:
        begins = _instant(state.begins_at)
        yield WaitView(
            kind="start", what=f"its instant {begins.isoformat()}", since=_instant(state.created_at), until=begins, wakes="its alarm"
        )
    elif state.retry_at is not None:
        again = _instant(state.retry_at)
        what = f"attempt {state.attempt + 1} of the workflow at {again.isoformat()}"
        yield WaitView(kind="attempt", what=what, since=written, until=again, wakes="its alarm")
    else:
        yield from _of_code(state, written, at_gate)


def _of_code(state: RunState, written: datetime, at_gate: frozenset[StepId]) -> Iterator[WaitView]:
    alarm = f", or its alarm at {_instant(min(each.due for each in state.alarms)).isoformat()}" if state.alarms else ""
    pending = [step for step in state.pending if not step.left]
    for step in pending:
        yield _of_step(state, step, (step.address, step.ordinal) in at_gate)
    for wait in state.waits:
        names = " or ".join(wait.names)
        since = _instant(wait.since)
        wakes = f"an event {names}{alarm}"
        yield WaitView(kind="event", what=f"event {names} since {since.isoformat()}", name=names, since=since, wakes=wakes)
    if state.alarms and not pending and not state.waits:
        due = _instant(min(alarm.due for alarm in state.alarms))
        yield WaitView(kind="timer", what=f"a timer at {due.isoformat()}", since=written, until=due, wakes="its alarm, or `wake`")


def _of_step(state: RunState, step: PendingStep, at_gate: bool) -> WaitView:
    since = _instant(step.issued_at)
    if step.due is not None:
        due = _instant(step.due)
        what = f"attempt {attempts_made(step.failed) + 1} of {step.name} at {due.isoformat()}"
        wakes = "its alarm" if step.kind == "local" else "its result: the dispatch is delayed until then"
        return WaitView(kind="retry", what=what, name=step.name, since=since, until=due, wakes=wakes)
    if step.child is not None:
        what = f"sub-workflow {step.name} (run {step.child.run_id})"
        return WaitView(kind="child", what=what, name=step.name, since=since, wakes="the child's end", run_id=RunId(step.child.run_id))
    limits = [limit for limit in (step.start_by, step.deadline_at) if limit is not None]
    until = _instant(min(limits)) if limits else None
    bound = f", until {until.isoformat()} at most" if until is not None else ""
    if step.kind == "local":
        return WaitView(
            kind="step", what=f"step {step.name}{bound}", name=step.name, since=since, until=until, wakes="its end, in the worker"
        )
    if at_gate:
        what = f"a place for task {step.name}, which is limited{bound}"
        return WaitView(kind="gate", what=what, name=step.name, since=since, until=until, wakes="its turn, then its result")
    wakes = f"its result, from a worker of queue {step.queue or state.queue or DEFAULT_QUEUE!r}"
    return WaitView(kind="task", what=f"task {step.name}{bound}", name=step.name, since=since, until=until, wakes=wakes)


def _instant(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
