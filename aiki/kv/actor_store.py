"""Actors' states in a JetStream KV bucket, changed only by compare-and-set.

A KV bucket is a stream, so the store is written on the transport port alone, and its in-memory twin is the transport's. Values are opaque
here; what the store itself must know travels in headers.

A write whose answer was lost is repeated: it carries the name of its operation, so when the repetition loses the compare-and-set to itself,
that is seen.
"""

import asyncio
from collections.abc import Awaitable
from typing import NamedTuple

from aiki.transport.port import Ack, Transport
from aiki.transport.surely import PAUSE_FIRST, surely
from aiki.types.errors import Conflict, OutcomeUnknown, RequestTimeout

__all__ = ["OPERATION_HEADER", "STATE_HEADER", "ActorStore", "StoredState"]

STATE_HEADER = "Aiki-State"
"""An actor's state in a word, so that watchers need not decode what is not final."""
OPERATION_HEADER = "Aiki-Operation"
"""Names the commit."""


class StoredState(NamedTuple):
    """A state as stored: its value, and the revision that the next compare-and-set must name."""

    value: bytes
    revision: int
    state: str


class ActorStore:
    """The actors of one bucket. Keys are single subject tokens."""

    def __init__(self, transport: Transport, stream: str, prefix: str) -> None:
        self._transport = transport
        self._stream = stream
        self._prefix = prefix

    def place(self, key: str) -> str:
        """The subject that an actor's state stands on."""
        return self._prefix + key

    async def read(self, key: str) -> StoredState | None:
        """The newest state, from the stream's leader; None when there is no such actor (any more)."""
        stored = await self._transport.last(self._stream, self._prefix + key)
        if stored is None:
            return None
        return StoredState(stored.data, stored.sequence, stored.headers.get(STATE_HEADER, ""))

    async def commit(self, key: str, value: bytes, revision: int, *, state: str, operation: str, ttl: float | None = None) -> int:
        """Write `value` if the newest revision is still `revision` (0: there is none); answers the new revision.

        `Conflict` when somebody else went ahead. Does not return before the outcome is known, however long the store is away.
        """
        subject = self._prefix + key
        headers = {STATE_HEADER: state, OPERATION_HEADER: operation}

        def write() -> Awaitable[Ack]:
            return self._transport.publish(subject, value, headers=headers, expect=revision, ttl=ttl)

        try:
            return (await write()).sequence
        except (OutcomeUnknown, RequestTimeout):
            pass
        await asyncio.sleep(PAUSE_FIRST)
        try:
            return (await surely(write)).answer.sequence
        except Conflict:
            if own := await self._own(subject, operation):
                return own
            raise

    async def _own(self, subject: str, operation: str) -> int | None:
        stored = (await surely(lambda: self._transport.last(self._stream, subject))).answer
        return stored.sequence if stored is not None and stored.headers.get(OPERATION_HEADER) == operation else None

    async def keys(self) -> list[str]:
        """The keys of all actors, sorted."""
        return [subject.removeprefix(self._prefix) for subject in await self._transport.subjects(self._stream, self._prefix + "*")]

    async def purge(self, key: str) -> None:
        """Delete an actor for good."""
        await self._transport.purge(self._stream, self._prefix + key)
