"""The run store: run states in a JetStream KV bucket, changed only by compare-and-set.

A KV bucket is a stream, so the store is written on the transport port alone, and its in-memory twin is the transport's. Keys: `<run id>`
for the state, `<run id>.s<start>-<end>` for sealed segments of its journal. Values are opaque here; what the store itself must know travels
in headers.

A write whose answer was lost is repeated: it carries the name of its operation, so when the repetition loses the compare-and-set to itself,
that is seen.
"""

from collections.abc import Awaitable
from typing import NamedTuple

from aiki.transport.port import Ack, Transport
from aiki.transport.surely import surely
from aiki.types.errors import Conflict
from aiki.types.subjects import Subjects

__all__ = ["OPERATION_HEADER", "STATE_HEADER", "RunStore", "StoredRun"]

STATE_HEADER = "Aiki-State"
"""The run's state, so that watchers need not decode what is not final."""
OPERATION_HEADER = "Aiki-Operation"
"""Names the commit."""


class StoredRun(NamedTuple):
    """A state as stored: its value, and the revision that the next compare-and-set must name."""

    value: bytes
    revision: int
    state: str


class RunStore:
    """The runs of one region."""

    def __init__(self, transport: Transport, subjects: Subjects) -> None:
        self._transport = transport
        self._stream = subjects.runs_stream
        self._prefix = subjects.runs_prefix

    async def read(self, run_id: str) -> StoredRun | None:
        """The newest state, from the stream's leader; None when there is no such run (any more)."""
        stored = await self._transport.last(self._stream, self._prefix + run_id)
        if stored is None:
            return None
        return StoredRun(stored.data, stored.sequence, stored.headers.get(STATE_HEADER, ""))

    async def commit(self, run_id: str, value: bytes, revision: int, *, state: str, operation: str, ttl: float | None = None) -> int:
        """Write `value` if the newest revision is still `revision` (0: there is none); answers the new revision.

        `Conflict` when somebody else went ahead. Does not return before the outcome is known, however long the store is away.
        """
        subject = self._prefix + run_id
        headers = {STATE_HEADER: state, OPERATION_HEADER: operation}
        calls = 0

        def write() -> Awaitable[Ack]:
            nonlocal calls
            calls += 1
            return self._transport.publish(subject, value, headers=headers, expect=revision, ttl=ttl)

        try:
            return (await surely(write)).answer.sequence
        except Conflict:
            if calls > 1 and (own := await self._own(subject, operation)):
                return own
            raise

    async def _own(self, subject: str, operation: str) -> int | None:
        stored = (await surely(lambda: self._transport.last(self._stream, subject))).answer
        return stored.sequence if stored is not None and stored.headers.get(OPERATION_HEADER) == operation else None

    async def seal(self, run_id: str, start: int, end: int, segment: bytes, *, ttl: float | None = None) -> None:
        """Write the journal's entries `start` to `end` as an immutable segment; its key names its content, so doing it twice is fine."""
        await surely(lambda: self._transport.publish(f"{self._prefix}{run_id}.s{start}-{end}", segment, ttl=ttl))

    async def segment(self, run_id: str, start: int, end: int) -> bytes:
        """A sealed segment; `LookupError` when it is missing."""
        stored = await self._transport.last(self._stream, f"{self._prefix}{run_id}.s{start}-{end}")
        if stored is None:
            raise LookupError(f"run {run_id}: the sealed journal segment {start} to {end} is missing")
        return stored.data

    async def ids(self) -> list[str]:
        """The ids of all runs, oldest first as far as their ids tell."""
        return [subject.removeprefix(self._prefix) for subject in await self._transport.subjects(self._stream, self._prefix + "*")]

    async def purge(self, run_id: str) -> None:
        """Delete a run and its segments for good."""
        await self._transport.purge(self._stream, f"{self._prefix}{run_id}.>")
        await self._transport.purge(self._stream, self._prefix + run_id)
