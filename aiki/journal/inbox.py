"""The inbox of one run's code: events that have come and that nobody has taken, and who waits for which."""

import asyncio
from collections.abc import Sequence

from aiki.journal.loop import DeterministicLoop
from aiki.journal.state import Received, Wait

__all__ = ["Inbox"]


class Inbox:
    """Events are taken in the order in which they were recorded, each once, by whoever has waited longest."""

    def __init__(self, loop: DeterministicLoop) -> None:
        self._loop = loop
        self._untaken: list[Received] = []
        self._waiting: list[tuple[Wait, asyncio.Future[Received]]] = []

    def deliver(self, event: Received) -> None:
        """The journal has come to this event."""
        for number, (wait, future) in enumerate(self._waiting):
            if event.name in wait.names and not future.done():
                del self._waiting[number]
                future.set_result(event)
                self._loop.drain()
                return
        self._untaken.append(event)

    async def take(self, names: Sequence[str]) -> Received:
        """The earliest event of any of these names; waits for one."""
        for number, event in enumerate(self._untaken):
            if event.name in names:
                return self._untaken.pop(number)
        future: asyncio.Future[Received] = self._loop.create_future()
        waiter = (Wait(tuple(names), self._loop.time()), future)
        self._waiting.append(waiter)
        try:
            return await future
        except BaseException:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            elif future.done() and not future.cancelled():
                self._give_back(future.result())
            raise

    def _give_back(self, event: Received) -> None:
        """Whoever was given it was interrupted before it could take it."""
        for number, (wait, future) in enumerate(self._waiting):
            if event.name in wait.names and not future.done():
                del self._waiting[number]
                future.set_result(event)
                return
        self._untaken.insert(0, event)

    @property
    def untaken(self) -> Sequence[Received]:
        """What has come and nobody has taken, in the order in which it came."""
        return self._untaken

    @property
    def waits(self) -> list[Wait]:
        """What is waited for."""
        return [wait for wait, future in self._waiting if not future.done()]
