"""Large payloads for people: which there are, who refers to them, and the collection of those that nobody does."""

import asyncio
from collections import defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from aiki.kv.blob_store import FRESH
from aiki.types.duration import Duration, seconds

if TYPE_CHECKING:
    from aiki.client.client import Client

__all__ = ["UNREFERENCED_FOR", "BlobView", "Collected", "collect_blobs", "list_blobs"]

UNREFERENCED_FOR = 86_400.0
"""Seconds that a blob is kept which nobody refers to: whoever has uploaded one has so long to say who does."""

AT_A_TIME = 16


class BlobView(msgspec.Struct, frozen=True, kw_only=True):
    """A large payload. `id`: its hash, or what stands for that; `size` in bytes; `runs` may refer to it.

    `used_at`: when it was stored, or used anew after some hours.
    """

    id: str
    size: int
    used_at: datetime
    runs: list[str]


class Collected(msgspec.Struct, frozen=True, kw_only=True):
    """What a collection has deleted: blobs and their bytes, marks of runs that are gone, and uploads that nobody has finished."""

    blobs: int = 0
    bytes: int = 0
    marks: int = 0
    uploads: int = 0


async def list_blobs(client: "Client") -> list[BlobView]:
    """All large payloads of the region, by id."""
    store = client.blobs.store
    runs: defaultdict[str, list[str]] = defaultdict(list)
    for mark in await store.marks():
        runs[mark.id].append(mark.run_id)
    views = []
    for id in await store.ids():
        found = await store.find(id)
        if found.meta is not None:
            views.append(BlobView(id=id, size=found.meta.size, used_at=datetime.fromtimestamp(found.at, UTC), runs=sorted(runs[id])))
    return views


async def collect_blobs(client: "Client", *, older_than: Duration = UNREFERENCED_FOR) -> Collected:
    """Delete what no run refers to any more, and has not been used for `older_than`. May be called by several at a time, and stopped.

    `DefinitionError` for less than twelve hours: what was used in the last six is not touched again by who uses it.

    A mark is written before what it marks, and what is used is touched: neither is deleted when it has changed since it was looked at.
    """
    store = client.blobs.store
    before = await client.now() - seconds(older_than, "older_than", least=2 * FRESH)
    marks = await store.marks()
    old = [mark for mark in marks if mark.at < before]
    gone = await _gone(client, {mark.run_id for mark in old})
    dead = {mark for mark in old if mark.run_id in gone}
    kept = {mark.id for mark in marks if mark not in dead}
    unmarked = 0
    for mark in dead:
        if await store.unmark(mark):
            unmarked += 1
        else:
            kept.add(mark.id)
    # A blob whose last mark went just now may have been marked again meanwhile: only the touch that follows a mark tells.
    blobs, size, in_use = 0, 0, set()
    for id in await store.ids():
        found = await store.find(id)
        if found.meta is None:
            continue
        if id in kept or found.at >= before or not await store.delete(id, found):
            in_use.add(found.meta.upload)
        else:
            blobs += 1
            size += found.meta.size
    unfinished = [upload for upload, at in (await store.uploads()).items() if at < before and upload not in in_use]
    if unfinished:
        used = await _used(client)  # one of them may have been finished meanwhile
        unfinished = [upload for upload in unfinished if upload not in used]
        for upload in unfinished:
            await store.purge_upload(upload)
    return Collected(blobs=blobs, bytes=size, marks=unmarked, uploads=len(unfinished))


async def _gone(client: "Client", runs: set[str]) -> set[str]:
    """Those of the runs that are neither stored nor about to begin."""
    gone = set()

    async def look(run_id: str) -> None:
        # In the order in which a run goes through them: when it goes on in between, it is found at the next place.
        mail = client.subjects.mail_stream
        if (
            await client.transport.last(mail, client.subjects.delayed_start(run_id)) is None
            and await client.find_start(run_id) is None
            and await client.store.read(run_id) is None
        ):
            gone.add(run_id)

    names = sorted(runs)
    for begin in range(0, len(names), AT_A_TIME):
        await asyncio.gather(*map(look, names[begin : begin + AT_A_TIME]))
    return gone


async def _used(client: "Client") -> set[str]:
    store = client.blobs.store
    return {found.meta.upload for id in await store.ids() if (found := await store.find(id)).meta is not None}
