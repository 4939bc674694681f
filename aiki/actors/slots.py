"""The slots of a worker: how many bodies of tasks run at a time, and how many dispatches of long tasks it has in hand."""

import asyncio
from types import TracebackType

__all__ = ["LONG", "Slots", "room_for"]

LONG = 0.25
"""Seconds: a task whose median is longer is not pulled before there is a slot for it, so that another worker may have it."""


class Slots(asyncio.Semaphore):
    """A semaphore that tells how much of it is taken."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size
        self.taken = 0

    @property
    def free(self) -> int:
        """Bodies for which there is room now."""
        return self.size - self.taken

    async def __aenter__(self) -> None:
        await super().__aenter__()
        self.taken += 1

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.taken -= 1
        await super().__aexit__(kind, error, trace)


def room_for(median: float | None, at_work: int, free: int, most: int) -> int:
    """Dispatches of a task that a worker may have in hand: `at_work` of them run, and `free` slots are left.

    Short tasks are taken ahead of their slots, `most` of them: what waits here is soon begun, and no slot waits for the network. Of a long
    one no more than can begin now, though one is always asked for when none runs, else nobody would ask again.
    """
    if median is None or median < LONG:
        return most
    return max(1, min(most, at_work + free))
