"""Bounds how many do something at a time; while there is room, passing costs two additions."""

import asyncio
from collections import deque

__all__ = ["Turnstile"]


class Turnstile:
    """Has `places`. To pass: `turnstile.free -= 1` if `turnstile.free` else `await turnstile.wait()`; afterwards `turnstile.leave()`.

    An `asyncio.Semaphore` costs seven calls each time, which is felt where it is passed once per commit.
    """

    __slots__ = ("_waiting", "free")

    def __init__(self, places: int) -> None:
        self.free = places
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def wait(self) -> None:
        """Until somebody leaves, whose place is taken over. Whoever waits longest is first."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.leave()
            raise

    def leave(self) -> None:
        """Give the place back, or on."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self.free += 1
