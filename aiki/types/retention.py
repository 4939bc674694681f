"""For how long a run is kept after its end."""

from typing import Literal

import msgspec

from aiki.types.duration import Duration, seconds
from aiki.types.errors import DefinitionError
from aiki.types.states import FINAL_STATES

__all__ = ["DEFAULT_RETENTION", "Kept", "Retention", "kept_for"]

DEFAULT_RETENTION = 7 * 86_400.0
"""Seconds, when neither a workflow nor its worker says anything."""

LEAST_RETENTION = 1.0
"""Seconds: JetStream counts the life of a message in whole ones."""

Kept = Duration | None | Literal["worker"]
"""A duration of at least a second, None: for ever, or "worker": as its worker says."""


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """For how long a run is kept after its end, by what became of it: `Retention(completed=timedelta(days=1), failed=None)`.

    Each is a timedelta or seconds (at least one), None (for ever), or "worker" (as `Worker(retention=…)` says, in which it means 7 days).
    Raises `DefinitionError`, which names the outcome.
    """

    completed: Kept = "worker"
    failed: Kept = "worker"
    cancelled: Kept = "worker"
    timed_out: Kept = "worker"

    def __post_init__(self) -> None:
        for outcome in sorted(FINAL_STATES):
            _check(getattr(self, outcome), f"retention of {outcome} runs")

    @staticmethod
    def of(value: "Kept | Retention", what: str) -> "Retention":
        """The same for every outcome, unless it says more already. `DefinitionError`, in which `what` names the parameter."""
        if isinstance(value, Retention):
            return value
        kept = _check(value, what)
        return Retention(completed=kept, failed=kept, cancelled=kept, timed_out=kept)


def kept_for(outcome: str, *rules: Retention) -> float | None:
    """Seconds for which a run with this end (a final state) is kept, by the first of the rules that says so; None: for ever."""
    for rule in rules:
        kept: Kept = getattr(rule, outcome)
        if kept is None:
            return None
        if not isinstance(kept, str):
            return seconds(kept, "retention")
    return DEFAULT_RETENTION


def _check(value: Kept, what: str) -> Kept:
    if value is None or value == "worker":
        return value
    if isinstance(value, str):
        raise DefinitionError(f'{what} must be a timedelta, seconds, None (for ever) or "worker", not {value!r}', what=what)
    seconds(value, what, least=LEAST_RETENTION)
    return value
