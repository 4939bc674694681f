"""One direction of a connection in memory: what is put in comes out later, in order, or not at all when the link is cut."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiki.transport.memory.server import MemoryServer

__all__ = ["Link"]


class Link:
    """Carries calls. `frail` ones are core messages and deliveries, which may be lost, doubled and reordered."""

    def __init__(self, server: "MemoryServer", loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._loop = loop
        self._queue: deque[tuple[float, Callable[..., None], tuple[Any, ...]]] = deque()
        self._epoch = 0
        self._latest = 0.0
        self._scheduled = False

    def carry(self, call: Callable[..., None], *args: Any) -> None:
        """Make `call(*args)` at the other end, after all that was put in before."""
        faults = self._server.faults
        arrival = 0.0
        if faults is not None and faults.delay[1] > 0:
            arrival = self._latest = max(self._loop.time() + self._server.dice.between(faults.delay), self._latest)
        self._queue.append((arrival, call, args))
        if not self._scheduled:
            self._schedule()

    def carry_frail(self, call: Callable[..., None], *args: Any) -> bool:
        """As `carry`, under all faults; false when it was lost."""
        faults = self._server.faults
        if faults is None:
            self.carry(call, *args)
            return True
        dice = self._server.dice
        if dice.falls(faults.lose):
            return False
        for _ in range(2 if dice.falls(faults.double) else 1):
            if dice.falls(faults.reorder):
                self._loop.call_later(dice.between(faults.delay), self._overtake, self._epoch, call, args)
            else:
                self.carry(call, *args)
        return True

    def cut(self) -> None:
        """Lose everything that is on its way."""
        self._queue.clear()
        self._epoch += 1
        self._scheduled = False
        self._latest = 0.0

    def _schedule(self) -> None:
        self._scheduled = True
        arrival = self._queue[0][0]
        if arrival > self._loop.time():
            self._loop.call_at(arrival, self._arrive, self._epoch)
        else:
            self._loop.call_soon(self._arrive, self._epoch)

    def _arrive(self, epoch: int) -> None:
        queue = self._queue
        if epoch != self._epoch or not queue:
            return
        # The head is due, whatever a coarse clock says; those behind it that are due arrive with it. What they put in waits its turn.
        due = max(queue[0][0], self._loop.time())
        for _ in range(len(queue)):
            if queue[0][0] > due:
                break
            _, call, args = queue.popleft()
            call(*args)
            if epoch != self._epoch:
                return
        self._scheduled = False
        if queue:
            self._schedule()

    def _overtake(self, epoch: int, call: Callable[..., None], args: tuple[Any, ...]) -> None:
        if epoch == self._epoch:
            call(*args)
