"""How often a schedule fires in a period, without walking through all of it."""

import math
from itertools import islice

from aiki.schedules.calendar import between
from aiki.schedules.schedule import Schedule

__all__ = ["WALKED", "count"]

WALKED = 10_000
"""Firings that are counted one by one; beyond, cron expressions are estimated."""


def count(schedule: Schedule, since: float, until: float) -> tuple[int, bool]:
    """How many firings are planned from `since` to `until`, and whether that is exact."""
    since = max(since, schedule.start) if schedule.start is not None else since
    until = min(until, schedule.end) if schedule.end is not None else until
    if until < since:
        return 0, True
    if schedule.interval is not None:
        first = math.ceil((since - schedule.anchor) / schedule.interval)
        return math.floor((until - schedule.anchor) / schedule.interval) - first + 1, True
    walked = list(islice(between(schedule, since, until), WALKED + 1))
    if len(walked) <= WALKED:
        return len(walked), True
    return round(WALKED * (until - since) / (walked[-1] - since)), False
