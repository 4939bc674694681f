"""Cron expressions in a time zone.

croniter knows the fields; it is only ever asked about wall-clock times without a zone. What daylight saving time makes of those is decided
here:

- a time that the clocks jump over fires once, right after the gap;
- a time that comes twice fires once, the first time;
- an expression whose hour is `*` follows elapsed time: it fires in both passes of the repeated hour, and nothing is made up for the gap.
"""

import re
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from aiki.types.errors import InvalidSchedule

__all__ = ["Cron", "zone"]

_RANDOM = re.compile(r"(?:^|[\s,])[rh](?:$|[\s,(/])", re.IGNORECASE)
FAR = 2 * 86_400.0
"""Seconds within which a change of the clocks is looked for; a firing further away is found by the wall clock."""


class Cron:
    """An expression of 5 or 6 fields (the sixth is seconds), or `@daily` and friends, in a time zone.

    `InvalidSchedule` when it is wrong.
    """

    def __init__(self, expression: str, timezone: str) -> None:
        from croniter import croniter

        if type(expression) is not str:
            raise InvalidSchedule(f"a cron expression must be a string, not {expression!r}", what="expression")
        fields = len(expression.split())
        if not expression.strip().startswith("@") and fields not in (5, 6):
            raise InvalidSchedule(
                f"the cron expression {expression!r} has {fields} field{'s' if fields != 1 else ''}: it needs minute, hour, day, "
                "month and weekday, and may have seconds as the sixth",
                what="expression",
            )
        if _RANDOM.search(expression):
            raise InvalidSchedule(
                f"the cron expression {expression!r} is random: every replica must read the same from it", what="expression"
            )
        self._zone = zone(timezone)
        try:
            self._iterator: Any = croniter(expression, datetime(2000, 1, 1))
        except (ValueError, KeyError) as error:
            raise InvalidSchedule(f"the cron expression {expression!r} is wrong: {error}", what="expression") from error
        self._every_hour = self._iterator.expanded[1] == ["*"] or len(self._iterator.expanded[1]) == 24

    def following(self, after: float) -> float | None:
        """The first instant after `after`; None when there is none (within 50 years)."""
        wall, offset = self._wall(after)
        if self._every_hour:
            near = self._by_offset(after, wall, offset)
            if near is not None:
                return near
        while True:
            found = self._next(wall)
            if found is None:
                return None
            instant = self._instant(found)
            if instant > after:
                return instant
            wall = found

    def _by_offset(self, after: float, wall: datetime, offset: timedelta) -> float | None:
        """By elapsed time: the clocks keep their offset until they change; from then on, the new one counts."""
        found = self._next(wall)
        if found is None:
            return None
        instant = _timestamp(found, offset)
        if instant - after > FAR:
            return None
        if self._wall(instant)[1] == offset:
            return instant
        low, high = after, instant
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._wall(middle)[1] == offset else (low, middle)
        # The clocks change at `high`, a whole second; what comes now may be due at once.
        changed, offset = self._wall(high)
        found = self._next(changed - timedelta(seconds=1))
        return None if found is None else _timestamp(found, offset)

    def _next(self, wall: datetime) -> datetime | None:
        from croniter import CroniterBadDateError

        try:
            self._iterator.set_current(wall, force=True)
            found: datetime = self._iterator.get_next(datetime)
        except (CroniterBadDateError, OverflowError, ValueError):
            return None
        return found

    def _wall(self, instant: float) -> tuple[datetime, timedelta]:
        local = datetime.fromtimestamp(instant // 1, self._zone)
        offset = local.utcoffset()
        assert offset is not None
        return local.replace(tzinfo=None, fold=0), offset

    def _instant(self, wall: datetime) -> float:
        local = wall.replace(tzinfo=self._zone, fold=0)
        instant = local.timestamp()
        if datetime.fromtimestamp(instant, self._zone).replace(tzinfo=None, fold=0) == wall:
            return instant
        # In a gap: `fold=0` reads it with the offset before, which lands behind the gap by as much as it was inside. Find the gap's end.
        before, after = local.utcoffset(), local.replace(fold=1).utcoffset()
        assert before is not None
        assert after is not None
        low, high = _timestamp(wall, after), instant
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._wall(middle)[1] == before else (low, middle)
        return high


@lru_cache(256)
def zone(name: str) -> tzinfo:
    """An IANA time zone; `InvalidSchedule` when there is none of that name."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError, TypeError) as error:
        raise InvalidSchedule(f"there is no time zone {name!r}: give an IANA name, such as Europe/Berlin", what="timezone") from error


def _timestamp(wall: datetime, offset: timedelta) -> float:
    return wall.replace(tzinfo=UTC).timestamp() - offset.total_seconds()
