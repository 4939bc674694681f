"""Time as the engine sees it."""

from typing import Protocol

__all__ = ["Clock"]


class Clock(Protocol):
    """The instant now, in seconds since the epoch (UTC)."""

    def now(self) -> float: ...
