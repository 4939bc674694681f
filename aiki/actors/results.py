"""Cached results, as a host uses them: looked up before a task is run or sent, stored after it has run.

The cache is a hint. A lookup that takes too long is a miss, a store that fails is forgotten. What a lookup finds becomes the step's
recorded outcome, so a replay never looks.
"""

import asyncio
import contextlib
import logging
from collections import OrderedDict
from typing import NamedTuple

import msgspec

from aiki import telemetry
from aiki.clock import Clock
from aiki.kv import LARGEST, CachedResult, ResultStore
from aiki.schema import claim_of
from aiki.transport.port import Message, Subscription, Transport
from aiki.types.cache import CacheUse
from aiki.types.errors import Conflict, TransportError
from aiki.types.subjects import Subjects

__all__ = ["Found", "Results", "announce"]

WITHIN = 1.0
"""Seconds that a lookup, or a store, may take."""
REMEMBERED = 5.0
"""Seconds for which a result is used without another look at the bucket. An invalidation is announced, but announcements may be lost."""
MOST, MOST_BYTES = 2048, 16 * 1024 * 1024

_log = logging.getLogger("aiki.actors")
_names = msgspec.msgpack.Decoder(tuple[str, str])


class Found(NamedTuple):
    """What a lookup came to: a value (JSON), or none; and the revision of the entry, for a later store."""

    value: bytes | None
    revision: int


class _Remembered(NamedTuple):
    result: CachedResult
    revision: int
    read_at: float


def announce(transport: Transport, subjects: Subjects, task: str, id: str) -> None:
    """Tell all hosts to forget a result of a task (`id` "": all of them)."""
    transport.send(subjects.forgotten, msgspec.msgpack.encode((task, id)))


class Results:
    """The cache as one process sees it. Lookups of one result that happen at a time are one read."""

    def __init__(self, transport: Transport, subjects: Subjects, clock: Clock) -> None:
        self.store = ResultStore(transport, subjects)
        self._transport = transport
        self._subjects = subjects
        self._clock = clock
        self._known: OrderedDict[tuple[str, str], _Remembered] = OrderedDict()
        self._bytes = 0
        self._reads: dict[tuple[str, str], asyncio.Task[_Remembered | int]] = {}
        self._writes: set[asyncio.Task[None]] = set()
        self._forgotten = 0
        self._heard: asyncio.Task[Subscription] | None = None

    async def find(self, task: str, use: CacheUse) -> Found:
        """A result that is young enough. Never raises for what the server does or fails to do."""
        key = (task, use.id)
        known = self._known.get(key)
        if known is not None and self._clock.now() - known.read_at < REMEMBERED and self._is_young(known.result, use):
            self._known.move_to_end(key)
            telemetry.count_cache("hit", task)
            return Found(known.result.value, known.revision)
        reading = self._reads.get(key)
        if reading is None:
            reading = self._reads[key] = asyncio.create_task(self._read(key))
            reading.add_done_callback(lambda _: self._reads.pop(key, None))
        # Who is cancelled must not take the read away from the others.
        read = await asyncio.shield(reading)
        if not isinstance(read, int) and self._is_young(read.result, use):
            telemetry.count_cache("hit", task)
            return Found(read.result.value, read.revision)
        telemetry.count_cache("miss", task)
        return Found(None, read if isinstance(read, int) else read.revision)

    def keep(self, task: str, use: CacheUse, value: bytes, run_id: str) -> None:
        """Store a result, without anybody waiting for it."""
        size = len(value) if (claim := claim_of(value)) is None else claim.size
        if size > LARGEST or claim is not None:  # its bytes would go with the run
            _log.info("a result of task %r has %d bytes, over %d: it is not cached", task, size, LARGEST)
            return
        write = asyncio.create_task(self._write(task, use, value, run_id))
        self._writes.add(write)
        write.add_done_callback(self._writes.discard)

    async def close(self) -> None:
        """Give what is being stored a moment."""
        if self._writes:
            await asyncio.wait(list(self._writes), timeout=WITHIN)
        if self._heard is not None:
            self._heard.cancel()
            with contextlib.suppress(TransportError, asyncio.CancelledError):
                await (await self._heard).stop()

    def forget(self, task: str, id: str) -> None:
        """Look at the bucket before a result (`id` "": any) of this task is used again."""
        self._forgotten += 1
        for key in [key for key in self._known if key[0] == task and id in ("", key[1])]:
            self._drop(key)

    def _is_young(self, result: CachedResult, use: CacheUse) -> bool:
        return self._clock.now() - result.stored_at < min(use.ttl, result.ttl)

    async def _read(self, key: tuple[str, str]) -> "_Remembered | int":
        try:
            async with asyncio.timeout(WITHIN):
                await self._listen()
                forgotten = self._forgotten
                result, revision = await self.store.read(*key)
        except (TransportError, TimeoutError) as error:
            _log.debug("the cache of task %r cannot be read: %s", key[0], error)
            return 0
        if result is None:
            return revision
        read = _Remembered(result, revision, self._clock.now())
        if forgotten == self._forgotten:
            self._remember(key, read)
        return read

    async def _write(self, task: str, use: CacheUse, value: bytes, run_id: str) -> None:
        result = CachedResult(value, self._clock.now(), use.ttl, run_id, use.label, use.version)
        try:
            async with asyncio.timeout(WITHIN):
                await self.store.write(task, use, result)
        except Conflict:
            return  # another has stored one meanwhile, or it was invalidated
        except (TransportError, TimeoutError) as error:
            _log.debug("a result of task %r could not be cached: %s", task, error)
            return
        telemetry.count_cache("store", task)

    async def _listen(self) -> None:
        """Hear of invalidations, from the first lookup on."""
        if self._heard is None:
            self._heard = asyncio.create_task(self._transport.subscribe(self._subjects.forgotten, self._on_forgotten))
        try:
            await asyncio.shield(self._heard)
        except TransportError:
            self._heard = None
            raise

    def _on_forgotten(self, message: Message) -> None:
        with contextlib.suppress(msgspec.DecodeError):
            self.forget(*_names.decode(message.data))

    def _remember(self, key: tuple[str, str], read: _Remembered) -> None:
        if key in self._known:
            self._drop(key)
        self._known[key] = read
        self._bytes += len(read.result.value)
        while len(self._known) > MOST or self._bytes > MOST_BYTES:
            self._drop(next(iter(self._known)))

    def _drop(self, key: tuple[str, str]) -> None:
        self._bytes -= len(self._known.pop(key).result.value)
