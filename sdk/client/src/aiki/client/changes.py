"""The states of one run, as they are committed."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING

from aiki.journal import RunState, peek_state
from aiki.transport.port import Message
from aiki.types.errors import OutcomeUnknown, RequestTimeout
from aiki.types.messages import Ended
from aiki.types.states import is_final

if TYPE_CHECKING:
    from aiki.client.client import Client

__all__ = ["Changes"]

LOOK_FIRST, LOOK_MOST = 2.0, 30.0
"""Seconds, doubling, after which the run is read though nothing was announced: announcements are not durable."""

SEQUENCE_HEADER = "Nats-Sequence"
"""Set by the server on what it republishes: the commit's revision."""

MOST_KEPT = 1000
"""Announcements that wait for whoever takes them."""

Commit = tuple[RunState | None, int]
"""A state and its revision; (None, 0): no worker has taken the run up yet."""


class Changes:
    """Follows one run by the announcements of its commits; `read` reads the run as it is now.

    `every`: each commit that was announced is shown, not only the newest of those that came too fast.
    """

    def __init__(self, client: "Client", run_id: str, read: Callable[[], Awaitable[Commit]], *, every: bool = False) -> None:
        self._client = client
        self._run_id = run_id
        self._read = read
        self._announced: deque[Message] = deque(maxlen=MOST_KEPT if every else 1)

    async def commits(self) -> AsyncGenerator[Commit, None]:
        """The run as it is, then after each commit, up to its end. Revisions only grow."""
        client = self._client
        with client.ends.waiting(self._run_id) as woken:

            def committed(message: Message) -> None:
                self._announced.append(message)
                woken.put_nowait(None)

            # Subscribe first, then read: what is committed in between is announced, and shown unless the read has seen it.
            watching = await client.transport.subscribe(client.subjects.live_prefix + self._run_id, committed)
            try:
                async with aclosing(self._follow(woken)) as follow:
                    async for commit in follow:
                        yield commit
            finally:
                await watching.stop()

    async def _follow(self, woken: "asyncio.Queue[Ended | None]") -> AsyncGenerator[Commit, None]:
        first = LOOK_FIRST if self._client.looks_again else None
        revision, patience = -1, first
        while True:
            for state, number in await self._present(revision):
                if number > revision:
                    revision, patience = number, first
                    yield state, number
                    if state is not None and is_final(state.status):
                        return
            if self._announced:
                continue
            try:
                async with asyncio.timeout(patience):
                    await woken.get()
            except TimeoutError:
                patience = min((patience or LOOK_FIRST) * 2, LOOK_MOST)
            while not woken.empty():
                woken.get_nowait()

    async def _present(self, revision: int) -> list[Commit]:
        """What was announced, if it is newer than `revision`, else what the store has; nothing when the store is away."""
        announced = list(self._announced)
        self._announced.clear()
        if revision >= 0 and announced:
            numbered = [(message, int(message.headers.get(SEQUENCE_HEADER, "0"))) for message in announced]
            if all(number for _, number in numbered):
                return [(peek_state(message.data), number) for message, number in numbered if number > revision]
        try:
            return [await self._read()]
        except (OutcomeUnknown, RequestTimeout):
            return []
