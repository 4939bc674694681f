"""When a schedule fires. Planned instants are without jitter: they name a firing."""

import math
from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b
from itertools import islice

from aiki.schedules.cron import Cron
from aiki.schedules.schedule import Schedule

__all__ = ["between", "due", "following", "upcoming"]


def following(schedule: Schedule, after: float) -> float | None:
    """The first planned instant after `after`, within the schedule's bounds; None when there is none any more."""
    if schedule.start is not None and after < schedule.start:
        after = math.nextafter(schedule.start, -math.inf)
    planned = _by_interval(schedule, after) if schedule.interval is not None else _cron(schedule).following(after)
    if planned is None or (schedule.end is not None and planned > schedule.end):
        return None
    return planned


def between(schedule: Schedule, since: float, until: float) -> Iterator[float]:
    """The planned instants from `since` to `until`, both included."""
    planned = following(schedule, math.nextafter(since, -math.inf))
    while planned is not None and planned <= until:
        yield planned
        planned = following(schedule, planned)


def upcoming(schedule: Schedule, after: float, number: int) -> list[float]:
    """The next `number` planned instants after `after`; fewer when it ends before."""
    return list(islice(between(schedule, math.nextafter(after, math.inf), math.inf), number))


def due(schedule: Schedule, id: str, planned: float) -> float:
    """When the firing planned for that instant is due: jitter comes from the schedule's id and the instant, so everybody finds the same."""
    if not schedule.jitter:
        return planned
    digest = blake2b(f"{id}\0{planned:.6f}".encode(), digest_size=8).digest()
    return planned + schedule.jitter * (int.from_bytes(digest, "big") / 2**64)


def _by_interval(schedule: Schedule, after: float) -> float:
    assert schedule.interval is not None
    # One less: the division may have been rounded up to a multiple that is still to come.
    number = math.floor((after - schedule.anchor) / schedule.interval) - 1
    while True:
        number += 1
        # Microseconds: what rounding leaves behind must not give a firing another name.
        planned = round(schedule.anchor + number * schedule.interval, 6)
        if planned > after:
            return planned


def _cron(schedule: Schedule) -> Cron:
    assert schedule.expression is not None
    return _parsed(schedule.expression, schedule.timezone)


@lru_cache(1024)
def _parsed(expression: str, timezone: str) -> Cron:
    return Cron(expression, timezone)
