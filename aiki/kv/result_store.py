"""The result store: results of tasks that runs share, in a JetStream KV bucket.

Keys: `<task>.<id>`. An entry expires with the age that its task allows. An invalidated one leaves an empty entry behind for a day: results
are stored by compare-and-set on what their lookup found, so one whose body began before the invalidation is refused.
"""

import asyncio

import msgspec

from aiki.transport.port import Stored, Transport
from aiki.transport.surely import surely
from aiki.types.cache import CacheUse
from aiki.types.names import from_token, to_token
from aiki.types.sealed import is_sealed, missing
from aiki.types.subjects import Subjects

__all__ = ["LARGEST", "CachedResult", "ResultStore"]

LARGEST = 64 * 1024
"""Bytes of a result that is stored; a larger one is not."""

FENCE_KEPT = 86_400.0
"""Seconds for which an invalidation is remembered: a body that was at work then has so long to end."""


class CachedResult(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True, tag="result"):
    """A stored result. `value` is JSON, `stored_at` an instant in seconds since the epoch, `run_id` the run whose step it was."""

    value: bytes
    stored_at: float
    ttl: float
    run_id: str
    label: str = ""
    version: str = ""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(CachedResult)


class ResultStore:
    """The cached results of one region."""

    def __init__(self, transport: Transport, subjects: Subjects) -> None:
        self._transport = transport
        self._stream = subjects.cache_stream
        self._prefix = subjects.cache_prefix

    async def read(self, task: str, id: str) -> tuple[CachedResult | None, int]:
        """What is stored, and the revision that a store must find again (0: there is nothing)."""
        stored = await self._transport.last(self._stream, self._key(task, id))
        return (None, 0) if stored is None else (_decode(stored), stored.sequence)

    async def write(self, task: str, use: CacheUse, result: CachedResult) -> int:
        """Store a result; answers its revision. `Conflict` when the entry is not what the lookup found."""
        ack = await self._transport.publish(self._key(task, use.id), _encode(result), expect=use.revision, ttl=use.ttl)
        return ack.sequence

    async def invalidate(self, task: str, id: str) -> None:
        """Forget a result, also one that is on its way. Whether there is one does not matter."""
        await surely(lambda: self._transport.publish(self._key(task, id), b"", ttl=FENCE_KEPT))

    async def list(self, task: str | None = None) -> "list[tuple[str, str, CachedResult]]":
        """(task, id, result) of those that are stored, by task and id. Raises `KeyMissing`."""
        pattern = f"{self._prefix}{'*' if task is None else to_token(task)}.*"
        found = []
        keys = await self._transport.subjects(self._stream, pattern)
        for begin in range(0, len(keys), 64):
            some = keys[begin : begin + 64]
            for key, stored in zip(some, await asyncio.gather(*(self._transport.last(self._stream, key) for key in some)), strict=True):
                if stored is None:
                    continue
                if is_sealed(stored.data):
                    raise missing(stored.data)
                if (result := _decode(stored)) is not None:
                    name, _, id = key.removeprefix(self._prefix).partition(".")
                    found.append((from_token(name), id, result))
        return found

    def _key(self, task: str, id: str) -> str:
        return f"{self._prefix}{to_token(task)}.{id}"


def _encode(result: CachedResult) -> bytes:
    """The one place in which a cached result becomes bytes."""
    return _encoder.encode(result)


def _decode(stored: Stored) -> CachedResult | None:
    """None for what was invalidated, sealed with a key that is not known here, or written by a later release."""
    try:
        return _decoder.decode(stored.data) if stored.data else None
    except msgspec.DecodeError:
        return None
