"""What handlers received, to be waited for."""

import asyncio
from typing import Generic, TypeVar

Item = TypeVar("Item")
PATIENCE = 5.0


class Inbox(Generic[Item]):
    """A handler that keeps what it gets."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Item] = asyncio.Queue()

    def __call__(self, item: Item) -> None:
        self._queue.put_nowait(item)

    async def next(self) -> Item:
        """The next one, which must come in time."""
        return await asyncio.wait_for(self._queue.get(), PATIENCE)

    @property
    def empty(self) -> bool:
        return self._queue.empty()
