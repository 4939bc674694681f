"""The last heartbeats of dispatches, for whoever gets a dispatch next when its worker is gone.

They lie in a bucket in the server's memory, are written seldom and never waited for: to lose one costs work and nothing else. A server that
stands alone forgets the bucket itself when it restarts, so a worker that finds none makes it again.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine

from aiki.actors import topology
from aiki.transport.port import Transport
from aiki.types.errors import StreamMissing, Tampered, TransportError
from aiki.types.sealed import is_sealed
from aiki.types.subjects import Subjects

__all__ = ["BeatWriter", "Beats"]

KEPT = 86_400.0
"""Seconds for which a heartbeat is kept: its dispatch may wait that long for another worker."""


class Beats:
    """The bucket of one region."""

    def __init__(self, transport: Transport, subjects: Subjects) -> None:
        self._transport = transport
        self._subjects = subjects

    async def open(self) -> None:
        """Make the bucket, unless it is there or that cannot be done."""
        with contextlib.suppress(TransportError):
            if await self._transport.stream(self._subjects.beats_stream) is None:
                await self._transport.ensure_stream(topology.beats(self._subjects))

    async def last(self, run_id: str, serial: int) -> bytes | None:
        """What the last heartbeat of a dispatch said; None when that is not known."""
        try:
            stored = await self._transport.last(self._subjects.beats_stream, self._key(run_id, serial))
        except (TransportError, Tampered):
            return None
        return None if stored is None or is_sealed(stored.data) else stored.data

    async def write(self, run_id: str, serial: int, details: bytes) -> None:
        """Keep what a heartbeat said, if that can be done."""
        key = self._key(run_id, serial)
        with contextlib.suppress(TransportError):
            try:
                await self._transport.publish(key, details, ttl=KEPT)
            except StreamMissing:
                await self.open()
                await self._transport.publish(key, details, ttl=KEPT)

    async def forget(self, run_id: str, serial: int) -> None:
        """The dispatch is settled."""
        with contextlib.suppress(TransportError):
            await self._transport.purge(self._subjects.beats_stream, self._key(run_id, serial))

    def _key(self, run_id: str, serial: int) -> str:
        return f"{self._subjects.beats_prefix}{run_id}.{serial}"


class BeatWriter:
    """Writes what the heartbeats of one dispatch say: `every` so many seconds at most, the last one wins."""

    def __init__(self, beats: Beats, run_id: str, serial: int, every: float) -> None:
        self._beats = beats
        self._run_id = run_id
        self._serial = serial
        self._every = every
        self._details: bytes | None = None
        self._rest: asyncio.TimerHandle | None = None
        self._write: asyncio.Task[None] | None = None
        self.has_written = False

    def put(self, details: bytes) -> None:
        """To be written: now, or when the last write is long enough ago."""
        self._details = details
        if self._rest is None:
            self.flush()

    def flush(self) -> None:
        """Write what has not been written yet, without waiting for its turn."""
        self._stop_resting()
        if self._details is None:
            return
        details, self._details, self.has_written = self._details, None, True
        self._after_the_last(lambda: self._beats.write(self._run_id, self._serial, details))
        self._rest = asyncio.get_running_loop().call_later(self._every, self.flush)

    def close(self, *, settled: bool) -> None:
        """The body has ended. `settled`: nobody will ask for its heartbeats."""
        self._stop_resting()
        if settled and self.has_written:
            self._after_the_last(lambda: self._beats.forget(self._run_id, self._serial))

    def _stop_resting(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None

    def _after_the_last(self, step: Callable[[], Coroutine[object, object, None]]) -> None:
        before = self._write

        async def follow() -> None:
            if before is not None:
                await asyncio.wait([before])
            await step()

        self._write = asyncio.create_task(follow())
