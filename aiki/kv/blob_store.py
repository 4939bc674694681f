"""The blob store: large payloads by content hash, in a JetStream KV bucket, in chunks.

Keys: `meta.<id>` says that a blob exists, of which size and where; `chunk.<upload>.<n>` are its bytes; `ref.<id>.<run id>` says that a run
may refer to it; `salt` is a region's secret. The id is the content's hash; with encryption, one that nobody can make without the salt.

A blob exists when its meta does. Each upload has chunks of its own, and the compare-and-set on the meta chooses among several of them, so
what a collector deletes is never what somebody writes at that moment.
"""

import asyncio
import hashlib
import secrets
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

import msgspec

from aiki.schema import Claim
from aiki.transport.port import Transport
from aiki.transport.surely import surely
from aiki.types.errors import Conflict, PayloadLost
from aiki.types.subjects import Subjects

__all__ = ["CHUNK", "BlobMark", "BlobMeta", "BlobStore"]

CHUNK = 128 * 1024
"""Bytes of a chunk: small enough for every server, and to be sealed without holding the loop."""

AT_A_TIME = 8
"""Chunks on their way at a time."""

FRESH = 6 * 3600.0
"""Seconds after which a blob that is uploaded or referred to again is marked as young: collectors leave young ones alone."""

GONE = 60.0
"""Seconds for which it stays visible that something was deleted."""

AT_ONCE = 256 * 1024
"""Bytes above which hashing and joining go to a thread."""


class BlobMeta(msgspec.Struct, frozen=True, array_like=True):
    """Where a blob's bytes are."""

    upload: str
    size: int
    chunks: int


class BlobMark(NamedTuple):
    """A run may refer to a blob since `at` (an instant in seconds since the epoch)."""

    id: str
    run_id: str
    at: float


class Found(NamedTuple):
    """A blob's meta, None when there is none, with what a compare-and-set must name and when it was written or touched."""

    meta: BlobMeta | None
    revision: int
    at: float


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(BlobMeta).decode


class BlobStore:
    """The blobs of one region. `now`: the clock; `secret`: whether the hash of a content must not be public."""

    def __init__(self, transport: Transport, subjects: Subjects, now: Callable[[], float], *, secret: bool = False) -> None:
        self._transport = transport
        self._stream = subjects.blobs_stream
        self._prefix = subjects.blobs_prefix
        self._now = now
        self._secret = secret
        self._salt: bytes | None = None

    # -- bytes

    async def write(self, claim: Claim, data: bytes, run_id: str) -> None:
        """Store these bytes, unless they are there, for that run. Whoever dies in between leaves chunks behind that nobody refers to."""
        id = await self.id(claim)
        await self._put_mark(id, run_id)
        while not await self._touch(id):
            upload = secrets.token_hex(12)
            count = max(1, -(-len(data) // CHUNK))

            async def put(number: int, upload: str = upload) -> None:
                part = data[number * CHUNK : (number + 1) * CHUNK]
                await surely(lambda: self._transport.publish(self._chunk(upload, number), part))

            await _windowed(put, count)
            found = await self.find(id)
            if found.meta is None and await self._commit(id, BlobMeta(upload, len(data), count), found.revision):
                return
            await self.purge_upload(upload)  # somebody else was first

    async def hold(self, claim: Claim, run_id: str) -> None:
        """Keep a blob for one more run, which is going to refer to it. `PayloadLost` when it is gone."""
        for id in await self._ids(claim):
            if (await self.find(id)).meta is not None:
                await self._put_mark(id, run_id)
                if await self._touch(id):
                    return
        raise _lost(claim)

    async def read(self, claim: Claim) -> bytes:
        """A payload's bytes. `PayloadLost` when they are not there, or others."""
        for id in await self._ids(claim):
            meta = (await self.find(id)).meta
            if meta is None:
                continue
            parts: list[bytes] = [b""] * meta.chunks

            async def get(number: int, parts: list[bytes] = parts, upload: str = meta.upload) -> None:
                stored = (await surely(lambda: self._transport.last(self._stream, self._chunk(upload, number)))).answer
                if stored is None:
                    raise _lost(claim)
                parts[number] = stored.data

            await _windowed(get, meta.chunks)
            data, sha256 = await asyncio.to_thread(_joined, parts) if claim.size > AT_ONCE else _joined(parts)
            if sha256 != claim.sha256:
                raise _lost(claim)
            return data
        raise _lost(claim)

    async def _touch(self, id: str) -> bool:
        """Make a blob young; False when there is none."""
        while True:
            found = await self.find(id)
            if found.meta is None:
                return False
            if self._now() - found.at < FRESH or await self._commit(id, found.meta, found.revision):
                return True

    async def _commit(self, id: str, meta: BlobMeta, revision: int) -> bool:
        try:
            await surely(lambda: self._transport.publish(self._meta(id), _encode(meta), expect=revision))
        except Conflict:
            # Perhaps with itself, when an answer was lost.
            now = (await self.find(id)).meta
            return now is not None and now.upload == meta.upload
        return True

    # -- marks

    async def _put_mark(self, id: str, run_id: str) -> None:
        """Before the blob is touched, so that a collector sees the one or the other."""
        await surely(lambda: self._transport.publish(self._mark(id, run_id), b"1"))

    async def marks(self) -> list[BlobMark]:
        """All marks, by blob."""
        begin = len(self._prefix) + len("ref.")
        found = []
        for subject, at in await self._alive(self._prefix + "ref.*.*"):
            id, _, run_id = subject[begin:].partition(".")
            found.append(BlobMark(id, run_id, at))
        return found

    # -- for collectors

    async def find(self, id: str) -> Found:
        """A blob by its id."""
        stored = (await surely(lambda: self._transport.last(self._stream, self._meta(id)))).answer
        if stored is None:
            return Found(None, 0, 0.0)
        return Found(_decode(stored.data) if stored.data else None, stored.sequence, stored.timestamp)

    async def ids(self) -> list[str]:
        """The ids of all blobs, sorted."""
        prefix = self._meta("")
        return [subject.removeprefix(prefix) for subject in await self._transport.subjects(self._stream, prefix + "*")]

    async def delete(self, id: str, found: Found) -> bool:
        """Delete a blob, unless somebody has touched it since it was found so."""
        if found.meta is None or not await self._erase(self._meta(id), found.revision):
            return False
        await self.purge_upload(found.meta.upload)
        return True

    async def unmark(self, mark: BlobMark) -> bool:
        """Delete a mark, unless it was written anew since."""
        subject = self._mark(mark.id, mark.run_id)
        stored = await self._transport.last(self._stream, subject)
        return stored is not None and stored.timestamp <= mark.at and await self._erase(subject, stored.sequence)

    async def uploads(self) -> dict[str, float]:
        """Those that have chunks, with the instant of their first one."""
        begin = len(self._prefix) + len("chunk.")
        firsts = await self._alive(self._prefix + "chunk.*.0")
        return {subject[begin:].partition(".")[0]: at for subject, at in firsts}

    async def purge_upload(self, upload: str) -> None:
        """Delete an upload's chunks."""
        await surely(lambda: self._transport.purge(self._stream, self._chunk(upload, "*")))

    async def _alive(self, pattern: str) -> list[tuple[str, float]]:
        subjects = await self._transport.subjects(self._stream, pattern)
        found: list[tuple[str, float]] = []

        async def look(number: int) -> None:
            stored = await self._transport.last(self._stream, subjects[number])
            if stored is not None and stored.data:
                found.append((subjects[number], stored.timestamp))

        await _windowed(look, len(subjects))
        return sorted(found)

    async def _erase(self, subject: str, revision: int) -> bool:
        try:
            await surely(lambda: self._transport.publish(subject, b"", expect=revision, ttl=GONE))
        except Conflict:
            return False
        return True

    # -- names

    async def id(self, claim: Claim) -> str:
        """What a blob that is written now is called."""
        return (await self._ids(claim))[0]

    async def _ids(self, claim: Claim) -> list[str]:
        """What it may be called: before there was a codec, it had another name."""
        if not self._secret:
            return [claim.sha256]
        salt = self._salt = self._salt or await self._read_salt()
        return [hashlib.blake2b(claim.sha256.encode(), key=salt, digest_size=32).hexdigest(), claim.sha256]

    async def _read_salt(self) -> bytes:
        subject = self._prefix + "salt"
        while True:
            stored = (await surely(lambda: self._transport.last(self._stream, subject))).answer
            if stored is not None:
                return stored.data
            salt = secrets.token_bytes(32)
            try:
                await surely(lambda salt=salt: self._transport.publish(subject, salt, expect=0))  # type: ignore[misc]
            except Conflict:
                continue

    def _meta(self, id: str) -> str:
        return f"{self._prefix}meta.{id}"

    def _chunk(self, upload: str, number: int | str) -> str:
        return f"{self._prefix}chunk.{upload}.{number}"

    def _mark(self, id: str, run_id: str) -> str:
        return f"{self._prefix}ref.{id}.{run_id}"


async def _windowed(work: Callable[[int], Coroutine[Any, Any, None]], count: int) -> None:
    """Do it for all numbers below `count`, a few at a time."""
    numbers = iter(range(count))

    async def some() -> None:
        for number in numbers:
            await work(number)
            await asyncio.sleep(0)  # a transport that answers at once must not keep the loop

    async with asyncio.TaskGroup() as group:
        for _ in range(min(AT_A_TIME, count)):
            group.create_task(some())


def _joined(parts: list[bytes]) -> tuple[bytes, str]:
    data = b"".join(parts)
    return data, hashlib.sha256(data).hexdigest()


def _lost(claim: Claim) -> PayloadLost:
    return PayloadLost(
        f"the large payload {claim.sha256[:12]}… of {claim.size:,} bytes is not in the region's blob store (any more)",
        sha256=claim.sha256,
        size=claim.size,
    )
