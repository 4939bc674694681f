"""The run store: run states in a JetStream KV bucket, changed only by compare-and-set.

What waits in a run's mailbox can be read here as well.

Keys: `<run id>` for the state, `<run id>.s<start>-<end>` for sealed segments of its journal.
"""

from aiki.kv.actor_store import ActorStore
from aiki.transport.port import Stored, Transport
from aiki.transport.surely import surely
from aiki.types.messages import AnyWord, Start, decode_mail
from aiki.types.subjects import Subjects

__all__ = ["RunStore"]


class RunStore(ActorStore):
    """The runs of one region."""

    def __init__(self, transport: Transport, subjects: Subjects) -> None:
        super().__init__(transport, subjects.runs_stream, subjects.runs_prefix)
        self._mail_stream = subjects.mail_stream

    async def seal(self, run_id: str, start: int, end: int, segment: bytes, *, ttl: float | None = None) -> None:
        """Write the journal's entries `start` to `end` as an immutable segment; its key names its content, so doing it twice is fine."""
        await surely(lambda: self._transport.publish(f"{self._prefix}{run_id}.s{start}-{end}", segment, ttl=ttl))

    async def segment(self, run_id: str, start: int, end: int) -> bytes:
        """A sealed segment; `LookupError` when it is missing."""
        stored = await self._transport.last(self._stream, f"{self._prefix}{run_id}.s{start}-{end}")
        if stored is None:
            raise LookupError(f"run {run_id}: the sealed journal segment {start} to {end} is missing")
        return stored.data

    async def extents(self, run_id: str) -> list[tuple[int, int]]:
        """Where the run's sealed segments begin and end, as far as they are there."""
        prefix = f"{self._prefix}{run_id}.s"
        subjects = await surely(lambda: self._transport.subjects(self._stream, f"{self._prefix}{run_id}.*"))
        extents = (subject.removeprefix(prefix).split("-") for subject in subjects.answer)
        return [(int(begin), int(end)) for begin, end in extents]

    async def start(self, subject: str) -> Start | None:
        """The start that waits there, if any."""
        stored = (await surely(lambda: self._transport.last(self._mail_stream, subject))).answer
        message = None if stored is None else decode_mail(stored.data)
        return message if isinstance(message, Start) else None

    async def words(self, subject: str) -> list[AnyWord]:
        """What has been asked of a run and is not settled yet, oldest first."""
        found: list[AnyWord] = []
        sequence = 0
        while (stored := await self._read_next(subject, sequence + 1)) is not None:
            sequence = stored.sequence
            if isinstance(message := decode_mail(stored.data), AnyWord):
                found.append(message)
        return found

    async def _read_next(self, subject: str, sequence: int) -> Stored | None:
        return (await surely(lambda: self._transport.next(self._mail_stream, subject, sequence))).answer

    async def ids(self) -> list[str]:
        """The ids of all runs, oldest first as far as their ids tell."""
        return await self.keys()

    async def purge(self, key: str) -> None:
        """Delete a run and its segments for good."""
        await self._transport.purge(self._stream, f"{self._prefix}{key}.>")
        await super().purge(key)
