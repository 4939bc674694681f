"""The limits of a step beyond one attempt's timeout."""

from typing import NamedTuple

from aiki.types.duration import Duration, seconds
from aiki.types.errors import DefinitionError

__all__ = ["LEAST_LIMIT", "MOST_DEATHS", "NO_LIMITS", "Limits", "check_heartbeat"]

LEAST_LIMIT = 0.001
"""Seconds: a limit of nothing at all could never be kept."""

MOST_DEATHS = 5
"""Workers that are proven to have died with something in hand, before it is given up."""


class Limits(NamedTuple):
    """In seconds; None: no limit of that kind (or, in a call, as the task declares)."""

    deadline: float | None = None
    """For all attempts together, waiting included, from the call on."""
    start_timeout: float | None = None
    """For a dispatch to be taken up by a worker."""
    heartbeat: float | None = None
    """Between two beats of a body."""

    @classmethod
    def of(cls, what: str, *, deadline: Duration | None, start_timeout: Duration | None, heartbeat: Duration | None) -> "Limits":
        """As a user gives them; `DefinitionError` for those that cannot be kept. `what` names whose they are."""
        return cls(
            _limit(deadline, f"deadline of {what}"),
            _limit(start_timeout, f"start_timeout of {what}"),
            _limit(heartbeat, f"heartbeat of {what}"),
        )

    def over(self, other: "Limits") -> "Limits":
        """These, and those of `other` where these say nothing."""
        return Limits(*(other[place] if limit is None else limit for place, limit in enumerate(self)))


NO_LIMITS = Limits()


def check_heartbeat(timeout: float | None, heartbeat: float | None, what: str) -> None:
    """Of limits that are given together: silence must be noticed before the attempt's time is over, else it never is."""
    if timeout is not None and heartbeat is not None and heartbeat > timeout:
        raise DefinitionError(
            f"{what}: a heartbeat of {heartbeat:g} s is of no use with a timeout of {timeout:g} s: make it shorter, or leave it out",
            what=f"heartbeat of {what}",
        )


def _limit(value: Duration | None, what: str) -> float | None:
    return None if value is None else seconds(value, what, least=LEAST_LIMIT)
