"""Waiting for many runs by one polled query, for engines that keep them in a database and tell nobody."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

__all__ = ["Completions"]

ALONE_S = 0.002
TOGETHER_S = 0.02


class Completions:
    """`of(key)` is a future of the value that the query lists for the key. Polls often when one run is awaited, gently when many are."""

    def __init__(self, query: Callable[[], Awaitable[Iterable[tuple[str, int]]]]) -> None:
        self._query = query
        self._waiting: dict[str, asyncio.Future[int]] = {}
        self._polling: asyncio.Task[None] | None = None

    def of(self, key: str) -> "asyncio.Future[int]":
        future = self._waiting.setdefault(key, asyncio.get_running_loop().create_future())
        if self._polling is None or self._polling.done():
            self._polling = asyncio.create_task(self._poll())
        return future

    def close(self) -> None:
        if self._polling is not None:
            self._polling.cancel()

    async def _poll(self) -> None:
        try:
            while self._waiting:
                for key, value in await self._query():
                    future = self._waiting.pop(key, None)
                    if future is not None and not future.done():
                        future.set_result(value)
                await asyncio.sleep(ALONE_S if len(self._waiting) <= 1 else TOGETHER_S)
        except Exception as error:
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(error)
