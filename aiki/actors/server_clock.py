"""The server's clock: the one by which alarms are set and instants are told, whatever the clocks of workers and clients show."""

import asyncio
import logging

from aiki.clock import Clock
from aiki.transport.port import Transport
from aiki.types.errors import AikiError

__all__ = ["ServerClock"]

SAMPLES = 3
"""Readings of which the one with the shortest round trip counts."""

EVERY = 60.0
"""Seconds after which the clock is read again: a machine's own drifts by a few milliseconds in that time."""

_log = logging.getLogger("aiki.actors")


class ServerClock:
    """This machine's `clock`, corrected by what the server's showed when it was read last. Until then it is the machine's own.

    `stream`: the one whose leader's clock counts, the one that fires alarms.
    """

    def __init__(self, transport: Transport, stream: str, clock: Clock) -> None:
        self.offset = 0.0
        """Seconds by which the server's clock is ahead of this machine's."""
        self.error = float("inf")
        """Seconds by which `offset` may be wrong, when it was measured: half of the round trip."""
        self._transport = transport
        self._stream = stream
        self._clock = clock
        self._read = clock.now
        self._fresh_until = float("-inf")
        self._measuring: asyncio.Task[None] | None = None
        self._stale = asyncio.Event()
        transport.on_reconnect(self._reconnected)

    def now(self) -> float:
        """Seconds since the epoch, by the server's clock."""
        return self._read() + self.offset

    def at_least(self, instant: float) -> None:
        """The server's clock has shown this already."""
        behind = instant - self.now()
        if behind > 0:
            self.offset += behind

    async def measure(self) -> None:
        """Read the server's clock. What cannot be read changes nothing; it is tried again."""
        best = None
        for _ in range(SAMPLES):
            before = self._clock.now()
            try:
                instant = await self._transport.server_time(self._stream)
            except AikiError as failure:
                _log.debug("the server's clock cannot be read: %s", failure)
                return
            after = self._clock.now()
            if after >= before and (best is None or after - before < 2 * best[1]):
                best = (instant - (before + after) / 2, (after - before) / 2)
        self._fresh_until = asyncio.get_running_loop().time() + EVERY
        if best is None:
            return
        offset, error = best
        # An earlier reading that was more exact, and that this one does not contradict, stays.
        if error < self.error or abs(offset - self.offset) > error:
            self.offset, self.error = offset, error

    async def fresh(self) -> None:
        """Read it, if that has not been done lately; only the first reading is waited for."""
        if asyncio.get_running_loop().time() < self._fresh_until:
            return
        if self._fresh_until == float("-inf"):
            await self.measure()
        elif self._measuring is None or self._measuring.done():
            self._measuring = asyncio.create_task(self.measure())

    async def follow(self) -> None:
        """Read it from time to time, and after each reconnect, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(EVERY):
                    await self._stale.wait()
            except TimeoutError:
                pass
            self._stale.clear()
            await self.measure()

    def _reconnected(self) -> None:
        """This may be another server."""
        self.error = float("inf")
        if self._fresh_until != float("-inf"):
            self._fresh_until = 0.0
        self._stale.set()
