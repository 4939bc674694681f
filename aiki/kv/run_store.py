"""The run store: run states in a JetStream KV bucket, changed only by compare-and-set.

Keys: `<run id>` for the state, `<run id>.s<start>-<end>` for sealed segments of its journal.
"""

from aiki.kv.actor_store import ActorStore
from aiki.transport.port import Transport
from aiki.transport.surely import surely
from aiki.types.subjects import Subjects

__all__ = ["RunStore"]


class RunStore(ActorStore):
    """The runs of one region."""

    def __init__(self, transport: Transport, subjects: Subjects) -> None:
        super().__init__(transport, subjects.runs_stream, subjects.runs_prefix)

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
        return await self.keys()

    async def purge(self, key: str) -> None:
        """Delete a run and its segments for good."""
        await self._transport.purge(self._stream, f"{self._prefix}{key}.>")
        await super().purge(key)
