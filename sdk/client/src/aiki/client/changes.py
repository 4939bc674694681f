"""The states of one run, as they are committed."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING

from aiki.client.views import RunView, run_view
from aiki.journal import decode_state
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


class Changes:
    """Follows one run by the announcements of its commits; `describe` reads the run as it is now."""

    def __init__(self, client: "Client", run_id: str, describe: Callable[[], Awaitable[RunView]]) -> None:
        self._client = client
        self._run_id = run_id
        self._describe = describe
        self._announced: Message | None = None

    async def views(self) -> AsyncGenerator[RunView, None]:
        """The run as it is, then after each commit, up to its end. Of commits that come too fast only the newest is shown."""
        client = self._client
        with client.ends.waiting(self._run_id) as woken:

            def committed(message: Message) -> None:
                self._announced = message
                woken.put_nowait(None)

            # Subscribe first, then read: what is committed in between is announced, and shown unless the read has seen it.
            watching = await client.transport.subscribe(client.subjects.live_prefix + self._run_id, committed)
            try:
                async with aclosing(self._follow(woken)) as follow:
                    async for view in follow:
                        yield view
            finally:
                await watching.stop()

    async def _follow(self, woken: "asyncio.Queue[Ended | None]") -> AsyncGenerator[RunView, None]:
        first = LOOK_FIRST if self._client.looks_again else None
        revision, patience = -1, first
        while True:
            view = await self._present(revision)
            if view is not None and view.revision > revision:
                revision, patience = view.revision, first
                yield view
                if is_final(view.status.state):
                    return
            try:
                async with asyncio.timeout(patience):
                    await woken.get()
            except TimeoutError:
                patience = min((patience or LOOK_FIRST) * 2, LOOK_MOST)
            while not woken.empty():
                woken.get_nowait()

    async def _present(self, revision: int) -> RunView | None:
        """The state that was announced last, if it is newer than `revision`, else what the store has; None when the store is away."""
        announced, self._announced = self._announced, None
        try:
            if announced is not None:
                sequence = int(announced.headers.get(SEQUENCE_HEADER, "0"))
                if sequence > revision:
                    state = decode_state(announced.data)
                    return run_view(state, await self._client.history(state), sequence)
                if sequence:
                    return None
            return await self._describe()
        except (OutcomeUnknown, RequestTimeout):
            return None
