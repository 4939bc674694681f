"""Debounced starts: many calls become one run, when it has been quiet for a while."""

import msgspec

from aiki.types.admission import key_token
from aiki.types.duration import Duration, seconds
from aiki.types.errors import DefinitionError

__all__ = ["Debounce"]


class Debounce(msgspec.Struct, frozen=True):
    """Calls with the same `key` become one run: it begins when none has come for `period`, at the latest `most` after the first one."""

    key: str | int
    period: Duration
    most: Duration | None = None

    def __post_init__(self) -> None:
        key_token(self.key, "Debounce")
        period = seconds(self.period, "the period of a Debounce", least=0.001)
        if self.most is not None and seconds(self.most, "most of a Debounce") < period:
            raise DefinitionError(f"most of a Debounce must not be less than its period, {period:g} s", where="debounce")

    @property
    def token(self) -> str:
        """The key as it stands in a subject."""
        return key_token(self.key, "Debounce")

    def due(self, first_at: float, now: float) -> float:
        """When the run is to begin, after a call that is made `now`."""
        due = now + seconds(self.period, "period")
        return due if self.most is None else min(due, first_at + seconds(self.most, "most"))
