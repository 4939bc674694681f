"""Durations as users give them."""

import math
from datetime import timedelta

from aiki.types.errors import DefinitionError

__all__ = ["LONGEST", "Duration", "seconds"]

LONGEST = 3.2e9
"""Seconds, about a hundred years: no timer is further ahead."""

Duration = timedelta | float | int
"""A `timedelta`, or seconds."""


def seconds(
    value: Duration, what: str, *, least: float = 0.0, most: float = LONGEST, error: type[DefinitionError] = DefinitionError
) -> float:
    """A duration in seconds; `error` when it is no number or not within `least` and `most` (about a hundred years)."""
    number = value.total_seconds() if isinstance(value, timedelta) else value
    if not _is_number(number) or not math.isfinite(number):
        raise error(f"{what} must be a timedelta or a number of seconds, not {value!r}", what=what)
    if not least <= number <= most:
        raise error(f"{what} must be between {least:g} and {most:g} seconds, not {number:g}", what=what)
    return float(number)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
