"""What clients see of a run: its status, and all of it."""

from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from aiki.client.holders import HolderView
from aiki.client.waits import WaitView, wait_views
from aiki.client.words import MessageView, message_views
from aiki.journal import Entry, Published, RecordedStep, RunState, StepId, Tick
from aiki.types.failure import ErrorInfo
from aiki.types.identifiers import RunId
from aiki.types.messages import NOT_BEGUN, Attempt, Start, attempts_made
from aiki.types.states import State, is_final

__all__ = [
    "AttemptView",
    "ChildView",
    "Progress",
    "RunStatus",
    "RunView",
    "StepView",
    "progress",
    "queued_status",
    "queued_view",
    "run_status",
    "run_view",
]


class RunStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The short answer. Instants are in UTC; `waiting_on` says in words what a run that is not final waits for."""

    id: RunId
    state: State
    workflow: str
    version: str
    attempts: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    error: ErrorInfo | None
    waiting_on: tuple[str, ...]
    idempotency_key: str | None = None
    archived_at: datetime | None = None
    """When it was written to an archive."""
    imported_at: datetime | None = None
    """When it was brought back from an archive: it is a copy, for a look."""
    sealed_with: str | None = None
    """The id of the key that is needed to see more than what is public."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a run's code has published: plain JSON values, numbered from 1."""

    number: int
    at: datetime
    data: Any


class AttemptView(msgspec.Struct, frozen=True, kw_only=True):
    """One failed attempt of a step."""

    number: int
    started_at: datetime
    finished_at: datetime
    worker: str
    error: ErrorInfo


class StepView(msgspec.Struct, frozen=True, kw_only=True):
    """A step.

    `state` is "completed", "failed", "running" (issued, no outcome yet) or "awaiting_retry" (until `next_attempt_at`).

    `input` and `output` are plain JSON values. `attempts` counts those that began, as far as they were recorded. Of a step without an
    outcome: `deadline_at`, when it fails whatever happens; `start_by`, when it fails unless a worker begins it (None once one has, or
    without such a limit); `last_heartbeat`, what an attempt that failed said last (a body that runs tells only its worker).
    """

    address: str
    ordinal: int
    kind: str
    name: str
    state: str
    input: Any
    output: Any
    error: ErrorInfo | None
    issued_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    attempts: int
    failed_attempts: tuple[AttemptView, ...]
    worker: str | None
    queue: str | None
    next_attempt_at: datetime | None = None
    deadline_at: datetime | None = None
    start_by: datetime | None = None
    last_heartbeat: Any = None
    child: RunId | None = None
    """The run that it is, if it is a sub-workflow."""
    cached: bool = False
    """Whether a cached result answered it: no attempt was made, by no worker."""


class ChildView(msgspec.Struct, frozen=True, kw_only=True):
    """A sub-workflow. `state` is "unknown" of one that was not read: it has expired, or the tree is too large."""

    id: RunId
    workflow: str
    state: State | Literal["unknown"]
    created_at: datetime | None = None
    finished_at: datetime | None = None
    error: ErrorInfo | None = None
    waiting_on: tuple[str, ...] = ()
    children: tuple["ChildView", ...] = ()


class RunView(msgspec.Struct, frozen=True, kw_only=True):
    """All of a run.

    `steps` stand in the order in which they were recorded, those without an outcome last; `sleeps_until` is its next alarm. `worker` has
    written it last. `waits`: what it waits for, since when, and what will wake it; `messages`: those that were applied to it. `children`
    is there when it was asked for: `describe(tree=True)`; without, a step that is a sub-workflow names its run.
    """

    status: RunStatus
    input: Any
    output: Any
    steps: tuple[StepView, ...]
    sleeps_until: datetime | None
    ticks: int
    revision: int
    host: str
    worker: str | None = None
    waits: tuple[WaitView, ...] = ()
    messages: tuple[MessageView, ...] = ()
    parent: RunId | None = None
    children: tuple[ChildView, ...] = ()
    generation: int = 0
    """How often it has continued as new; what it shows of steps and messages is of the last generation."""


def progress(published: Published) -> Progress:
    """As it is shown."""
    return Progress(number=published.number, at=_instant(published.at), data=_value(published.data))


def _instant(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _maybe(seconds: float | None) -> datetime | None:
    return None if seconds is None else _instant(seconds)


def _value(data: bytes | None) -> Any:
    return msgspec.json.decode(data) if data else None


def queued_status(start: Start, now: float) -> RunStatus:
    """Of a run that no worker has taken up yet, or whose instant has not come."""
    due = start.due if start.due is not None and start.due > now else None
    return RunStatus(
        id=RunId(start.run_id),
        state="queued" if due is None else "scheduled",
        workflow=start.workflow,
        version=start.version,
        attempts=0,
        created_at=_instant(start.created_at),
        started_at=None,
        finished_at=None,
        error=None,
        waiting_on=(
            f"a worker with workflow {start.workflow!r} version {start.version!r}"
            if due is None
            else f"its beginning at {_instant(due).isoformat()}",
        ),
        idempotency_key=start.key,
        sealed_with=start.locked or None,
    )


def queued_view(start: Start, now: float) -> RunView:
    """Of a run that no worker has taken up yet."""
    return RunView(
        status=queued_status(start, now), input=_value(start.input), output=None, steps=(), sleeps_until=None, ticks=0, revision=0, host=""
    )


def run_status(state: RunState, at_gate: frozenset[StepId] = frozenset(), line: HolderView | None = None) -> RunStatus:
    """Of a stored run; `at_gate`: its steps that wait for a place; `line`: who is in the way of the run itself."""
    return RunStatus(
        id=RunId(state.run_id),
        state=state.status,
        workflow=state.workflow,
        version=state.version,
        attempts=state.attempt,
        created_at=_instant(state.created_at),
        started_at=_instant(state.started_at),
        finished_at=_maybe(state.finished_at),
        error=state.held or state.error,
        waiting_on=tuple(wait.what for wait in wait_views(state, at_gate, line)),
        idempotency_key=state.key,
        archived_at=None if state.archival is None else _maybe(state.archival.archived_at),
        imported_at=None if state.archival is None else _maybe(state.archival.imported_at),
        sealed_with=state.locked or None,
    )


def _attempts(failed: tuple[Attempt, ...]) -> tuple[AttemptView, ...]:
    return tuple(
        AttemptView(
            number=attempt.number,
            started_at=_instant(attempt.started_at),
            finished_at=_instant(attempt.finished_at),
            worker=attempt.worker,
            error=attempt.error,
        )
        for attempt in failed
    )


def _recorded(step: RecordedStep) -> StepView:
    return StepView(
        address=step.address,
        ordinal=step.ordinal,
        kind=step.kind,
        name=step.name,
        state="completed" if step.error is None else "failed",
        input=_value(step.input),
        output=_value(step.value),
        error=step.error,
        issued_at=_instant(step.issued_at),
        started_at=_instant(step.started_at) if step.started_at != NOT_BEGUN else None,
        finished_at=_instant(step.at),
        attempts=attempts_made(step.failed) + (step.started_at != NOT_BEGUN),
        failed_attempts=_attempts(step.failed),
        worker=step.worker,
        queue=step.queue,
        child=RunId(step.child) if step.child else None,
        cached=step.cached,
    )


def run_view(
    state: RunState,
    history: list[Entry],
    revision: int,
    children: tuple[ChildView, ...] = (),
    at_gate: frozenset[StepId] = frozenset(),
    line: HolderView | None = None,
) -> RunView:
    """Everything that is known of a stored run; `history` is its whole journal, `at_gate`: its steps that wait for a place, `line`: who is
    in the way of the run itself."""
    steps = [_recorded(entry) for entry in history if isinstance(entry, RecordedStep)]
    steps += [
        StepView(
            address=step.address,
            ordinal=step.ordinal,
            kind=step.kind,
            name=step.name,
            state="running" if step.due is None else "awaiting_retry",
            input=_value(step.input),
            output=None,
            error=None,
            issued_at=_instant(step.issued_at),
            started_at=None,
            finished_at=None,
            attempts=attempts_made(step.failed) + (step.due is None),
            failed_attempts=_attempts(step.failed),
            worker=None,
            queue=step.queue,
            next_attempt_at=_maybe(step.due),
            deadline_at=_maybe(step.deadline_at),
            start_by=_maybe(step.start_by),
            last_heartbeat=_value(step.details),
            child=RunId(step.child.run_id) if step.child is not None else None,
        )
        for step in state.pending
        if not step.left
    ]
    final = is_final(state.status)
    return RunView(
        status=run_status(state, at_gate, line),
        input=_value(state.input),
        output=_value(state.result),
        steps=tuple(steps),
        sleeps_until=None if final or not state.alarms else _instant(min(alarm.due for alarm in state.alarms)),
        ticks=sum(isinstance(entry, Tick) for entry in history),
        revision=revision,
        host=state.host,
        worker=state.worker or None,
        waits=wait_views(state, at_gate, line),
        messages=message_views(history),
        parent=RunId(state.parent) if state.parent else None,
        children=children,
        generation=state.generation,
    )
