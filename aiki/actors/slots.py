"""The slots of a worker: how many task bodies run at a time, over all of its tasks."""

import asyncio
from collections.abc import Callable
from types import TracebackType

__all__ = ["Slots"]


class Slots:
    """`async with slots:` around a body. Who must not pull more than can begin at once watches them."""

    def __init__(self, count: int) -> None:
        self._semaphore = asyncio.Semaphore(count)
        self._watchers: list[Callable[[], None]] = []
        self.free = count

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
