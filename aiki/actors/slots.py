"""The slots of a worker: how many bodies run at a time, over all of its tasks, and how many dispatches of long ones it has in hand."""

import asyncio
from collections.abc import Callable
from types import TracebackType

__all__ = ["LONG", "Slots", "room_for"]

LONG = 0.25
"""Seconds: a task whose median is longer is not pulled before there is a slot for it, so that another worker may have it."""


class Slots:
    """`async with slots:` around a body. Who must not pull more than can begin at once watches them."""

    def __init__(self, size: int) -> None:
        self._semaphore = asyncio.Semaphore(size)
        self._watchers: list[Callable[[], None]] = []
        self.size = size
        self.free = size
        """Bodies for which there is room now."""

    @property
    def taken(self) -> int:
        """Bodies that run."""
        return self.size - self.free

    def watch(self, watcher: Callable[[], None]) -> None:
        """Call `watcher` (which must not block) whenever a slot is taken or given back."""
        self._watchers.append(watcher)

    async def __aenter__(self) -> None:
        await self._semaphore.acquire()
        self._change(-1)

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._semaphore.release()
        self._change(1)

    def _change(self, by: int) -> None:
        self.free += by
        for watcher in self._watchers:
            watcher()


def room_for(median: float | None, at_work: int, free: int, most: int) -> int:
    """Dispatches of a task that a worker may have in hand: `at_work` of them run, and `free` slots are left.

    Short tasks are taken ahead of their slots, `most` of them: what waits here is soon begun, and no slot waits for the network. Of a long
    one no more than can begin now, though one is always asked for when none runs, else nobody would ask again.
    """
    if median is None or median < LONG:
        return most
    return max(1, min(most, at_work + free))
