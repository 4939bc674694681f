"""A schedule as users declare it, and as it stands in the store."""

from datetime import datetime
from typing import Literal, Self, TypedDict, get_args

import msgspec

from aiki.types.duration import Duration, seconds
from aiki.types.errors import InvalidSchedule

__all__ = ["DEFAULT_CATCH_UP", "Overlap", "Schedule"]

Overlap = Literal["skip", "buffer_one", "allow", "cancel_previous", "terminate_previous"]
"""What happens to a firing while a run of an earlier one goes on.

It is skipped, one is kept for the run's end, it starts beside it, or the run is told to end and the newest firing starts when it has.
"""

DEFAULT_CATCH_UP = 3600.0
LEAST_INTERVAL = 1.0


class Schedule(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """When to start runs of a workflow. Make it with `Schedule.cron` or `Schedule.every`; instants are seconds since the epoch."""

    expression: str | None = None
    interval: float | None = None
    anchor: float = 0.0
    timezone: str = "UTC"
    overlap: Overlap = "skip"
    catch_up: float = DEFAULT_CATCH_UP
    jitter: float = 0.0
    start: float | None = None
    end: float | None = None
    max_firings: int | None = None

    @classmethod
    def cron(
        cls,
        expression: str,
        *,
        timezone: str = "UTC",
        overlap: Overlap = "skip",
        catch_up: Duration = DEFAULT_CATCH_UP,
        jitter: Duration = 0.0,
        start: datetime | None = None,
        end: datetime | None = None,
        max_firings: int | None = None,
    ) -> Self:
        """By a cron expression: minute, hour, day, month, weekday and perhaps seconds; names (`mon`, `jan`) and `@daily` and friends too.

        `timezone` is an IANA name. `overlap`: "skip", "buffer_one", "allow", "cancel_previous" or "terminate_previous". `catch_up`: how
        late a firing may still be made up for. `jitter`: each firing is delayed by up to so much, always the same for the same firing.
        `start` and `end`: the first and the last instant that count. `max_firings`: it is over after so many. Raises `InvalidSchedule`.
        """
        bounds = _bounds(overlap, catch_up, jitter, start, end, max_firings)
        return cls(expression=expression, timezone=timezone, **bounds).checked()

    @classmethod
    def every(
        cls,
        interval: Duration,
        *,
        anchor: datetime | None = None,
        overlap: Overlap = "skip",
        catch_up: Duration = DEFAULT_CATCH_UP,
        jitter: Duration = 0.0,
        start: datetime | None = None,
        end: datetime | None = None,
        max_firings: int | None = None,
    ) -> Self:
        """At multiples of an interval, a second at least, counted from `anchor` (default: the epoch, so every
        15 minutes means at the quarters of an hour).

        The other parameters are those of `cron`. Raises `InvalidSchedule`.
        """
        bounds = _bounds(overlap, catch_up, jitter, start, end, max_firings)
        length = seconds(interval, "interval", least=LEAST_INTERVAL, error=InvalidSchedule)
        begin = _instant(anchor, "anchor")
        return cls(interval=length, anchor=begin if begin is not None else 0.0, **bounds).checked()

    def checked(self) -> Self:
        """Itself; `InvalidSchedule` when it can never fire."""
        from aiki.schedules.calendar import following

        if self.start is not None and self.end is not None and self.end < self.start:
            raise InvalidSchedule("the schedule's end is before its start", what="end")
        begin = self.start - 1e-3 if self.start is not None else 0.0
        if following(self, begin) is None:
            within = " between its start and its end" if self.end is not None else ""
            raise InvalidSchedule(f"the schedule {self} never fires{within}", what="expression")
        return self

    def __str__(self) -> str:
        if self.expression is not None:
            return f"{self.expression} ({self.timezone})"
        return f"every {self.interval:g} s"


class _Bounds(TypedDict):
    overlap: Overlap
    catch_up: float
    jitter: float
    start: float | None
    end: float | None
    max_firings: int | None


def _bounds(
    overlap: Overlap, catch_up: Duration, jitter: Duration, start: datetime | None, end: datetime | None, max_firings: int | None
) -> _Bounds:
    if overlap not in get_args(Overlap):
        raise InvalidSchedule(f"overlap must be one of {', '.join(get_args(Overlap))}, not {overlap!r}", what="overlap")
    if max_firings is not None and (type(max_firings) is not int or max_firings < 1):
        raise InvalidSchedule(f"max_firings must be at least 1, not {max_firings!r}", what="max_firings")
    return {
        "overlap": overlap,
        "catch_up": seconds(catch_up, "catch_up", error=InvalidSchedule),
        "jitter": seconds(jitter, "jitter", error=InvalidSchedule),
        "start": _instant(start, "start"),
        "end": _instant(end, "end"),
        "max_firings": max_firings,
    }


def _instant(at: datetime | None, what: str) -> float | None:
    if at is None:
        return None
    if at.tzinfo is None:
        raise InvalidSchedule(
            f"{what} must be a datetime with a time zone, such as datetime(2030, 1, 1, tzinfo=UTC), not {at!r}", what=what
        )
    return at.timestamp()
