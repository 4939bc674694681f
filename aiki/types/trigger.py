"""When a run begins."""

from datetime import datetime

import msgspec

from aiki.types.duration import Duration, seconds
from aiki.types.errors import DefinitionError

__all__ = ["Trigger"]


class Trigger(msgspec.Struct, frozen=True):
    """When a run begins: at an instant, or after a delay. Without a trigger it begins at once. Make one with `at` or `after`."""

    instant: float | None = None
    """Seconds since the epoch."""
    delay: float = 0.0
    """Seconds from the moment of the call."""

    @classmethod
    def at(cls, instant: datetime) -> "Trigger":
        """At an instant, which must name its time zone. One that is past means at once."""
        if not _has_zone(instant):
            raise DefinitionError(f"Trigger.at takes a datetime with a time zone, not {instant!r}", what="trigger")
        return cls(instant=instant.timestamp())

    @classmethod
    def after(cls, delay: Duration) -> "Trigger":
        """After a delay (a timedelta or seconds)."""
        return cls(delay=seconds(delay, "the delay of a trigger"))

    def due(self, now: float) -> float:
        """The instant, for a call that is made `now`."""
        return self.instant if self.instant is not None else now + self.delay


def _has_zone(value: object) -> bool:
    return isinstance(value, datetime) and value.utcoffset() is not None
