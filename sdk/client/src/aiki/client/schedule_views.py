"""What clients see of a schedule."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from aiki.schedules import ScheduleState, upcoming
from aiki.schedules.calendar import due
from aiki.types.identifiers import RunId, ScheduleId
from aiki.types.sealed import is_sealed, key_of

__all__ = ["FiringView", "ScheduleView", "schedule_view"]

NEXT = 10


class FiringView(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a firing.

    `outcome` is "fired", "triggered", "backfilled", "skipped", "missed", "overlapping", "buffered", "cancelled" or "terminated"
    (it waits for the end of a run that was told to end), or "refused" (the workflow's version was retired); `reason` says why no run was
    started.
    """

    planned_at: datetime
    decided_at: datetime
    outcome: str
    run_id: RunId | None
    reason: str


class ScheduleView(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule. Instants are in UTC.

    `state` is "active", "paused" or "finished" (nothing will fire any more). `counts` are by outcome.

    `recent` are the last ten firings, the newest last. `next`: the instants of the next ten, jitter included, as they will be if nothing is
    changed (or, when paused, resumed now). `running`: runs that go on as far as the schedule knows, where its overlap policy asks for that.
    """

    id: ScheduleId
    state: str
    workflow: str
    version: str
    input: Any
    expression: str | None
    interval: float | None
    timezone: str
    overlap: str
    catch_up: float
    jitter: float
    start: datetime | None
    end: datetime | None
    max_firings: int | None
    pause_reason: str
    revision: int
    created_at: datetime
    counts: dict[str, int]
    recent: tuple[FiringView, ...]
    next: tuple[datetime, ...]
    running: tuple[RunId, ...]
    backfilling: bool
    sealed_with: str | None = None
    """The id of the key that is needed to see the input."""

    @property
    def last(self) -> FiringView | None:
        """The newest firing that started a run, among the last ten."""
        return next((firing for firing in reversed(self.recent) if firing.run_id is not None), None)


def schedule_view(state: ScheduleState, now: float) -> ScheduleView:
    """A state, for people."""
    schedule = state.schedule
    return ScheduleView(
        id=ScheduleId(state.id),
        state="paused" if state.paused else "finished" if state.planned is None else "active",
        workflow=state.workflow,
        version=state.version,
        input=None if is_sealed(state.payload) else msgspec.json.decode(state.payload),
        expression=schedule.expression,
        interval=schedule.interval,
        timezone=schedule.timezone,
        overlap=schedule.overlap,
        catch_up=schedule.catch_up,
        jitter=schedule.jitter,
        start=_instant(schedule.start),
        end=_instant(schedule.end),
        max_firings=schedule.max_firings,
        pause_reason=state.pause_reason,
        revision=state.revision,
        created_at=datetime.fromtimestamp(state.created_at, UTC),
        counts=msgspec.to_builtins(msgspec.structs.asdict(state.counts)),
        recent=tuple(
            FiringView(
                planned_at=datetime.fromtimestamp(firing.planned, UTC),
                decided_at=datetime.fromtimestamp(firing.at, UTC),
                outcome=firing.outcome,
                run_id=None if firing.run_id is None else RunId(firing.run_id),
                reason=firing.reason,
            )
            for firing in state.recent
        ),
        next=_next(state, now),
        running=tuple(map(RunId, state.running)),
        backfilling=bool(state.backfills),
        sealed_with=key_of(state.payload) if is_sealed(state.payload) else None,
    )


def _next(state: ScheduleState, now: float) -> tuple[datetime, ...]:
    if state.planned is None:
        return ()
    after = now if state.paused else min(now, state.planned - 1e-3)
    left = NEXT if state.schedule.max_firings is None else min(NEXT, state.schedule.max_firings - state.counts.fired)
    return tuple(datetime.fromtimestamp(due(state.schedule, state.id, at), UTC) for at in upcoming(state.schedule, after, left))


def _instant(at: float | None) -> datetime | None:
    return None if at is None else datetime.fromtimestamp(at, UTC)
