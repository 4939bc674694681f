"""The window: how many messages of one mailbox a host has in its hands.

Turns that merely wait for an instant that is near cost memory and nothing else, so they make room for others. The window grows at once; it
shrinks a moment later, for many at a time, since demand that stands at the server must be withdrawn for that.
"""

import asyncio

from aiki.transport.port import Consumption

__all__ = ["MOST_WAITING", "Window"]

MOST_WAITING = 50_000
"""Turns that may wait for their instant at a time, beside those that are at work."""

FIT_AFTER = 0.05
"""Seconds after which room that is no longer needed is given up."""


class Window:
    """One consumption's. `turns`: how many may be at work."""

    def __init__(self, turns: int) -> None:
        self.turns = turns
        self.waiting = 0
        self.consumption: Consumption | None = None
        self._fitting: asyncio.TimerHandle | None = None

    @property
    def size(self) -> int:
        """Messages that the host has room for now."""
        return self.turns + min(self.waiting, MOST_WAITING)

    def wait_began(self) -> None:
        """A turn waits for its instant."""
        self.waiting += 1
        if self.consumption is not None and self.consumption.window < self.size:
            self.consumption.window = self.size

    def wait_ended(self) -> None:
        """It goes on."""
        self.waiting -= 1
        if self._fitting is None and self.consumption is not None:
            self._fitting = asyncio.get_running_loop().call_later(FIT_AFTER, self._fit)

    def close(self) -> None:
        """Nothing is pulled any more."""
        self.consumption = None
        if self._fitting is not None:
            self._fitting.cancel()

    def _fit(self) -> None:
        self._fitting = None
        if self.consumption is not None and self.consumption.window > self.size:
            self.consumption.window = self.size
