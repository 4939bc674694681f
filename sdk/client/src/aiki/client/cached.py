"""Cached results of tasks, as clients see and invalidate them."""

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from aiki import telemetry
from aiki.actors.results import announce
from aiki.kv import ResultStore
from aiki.types.identifiers import RunId
from aiki.types.names import check_name

if TYPE_CHECKING:
    from aiki.client.client import Client

__all__ = ["CachedView", "clear_cached", "invalidate_cached", "read_cached"]

AT_A_TIME = 64


class CachedView(msgspec.Struct, frozen=True, kw_only=True):
    """A cached result: `value` (plain JSON) is used until `expires_at`. `key` is what identifies it among those of its task, shortened."""

    task: str
    id: str
    key: str
    version: str
    value: Any
    stored_at: datetime
    expires_at: datetime
    run: RunId
    """The run whose step it was."""


async def read_cached(client: "Client", task: str | None) -> list[CachedView]:
    """See `Client.cached`."""
    now = await client.now()
    found = await ResultStore(client.transport, client.subjects).list(None if task is None else check_name(task, "task"))
    return [
        CachedView(
            task=name,
            id=id,
            key=result.label,
            version=result.version,
            value=msgspec.json.decode(result.value),
            stored_at=datetime.fromtimestamp(result.stored_at, UTC),
            expires_at=datetime.fromtimestamp(result.stored_at + result.ttl, UTC),
            run=RunId(result.run_id),
        )
        for name, id, result in found
        if now < result.stored_at + result.ttl
    ]


async def invalidate_cached(client: "Client", task: str, id: str) -> None:
    """See `Client.invalidate_cached`."""
    await ResultStore(client.transport, client.subjects).invalidate(check_name(task, "task"), id)
    announce(client.transport, client.subjects, task, id)
    telemetry.count_cache("invalidation", task)


async def clear_cached(client: "Client", task: str) -> int:
    """See `Client.clear_cached`."""
    store = ResultStore(client.transport, client.subjects)
    ids = [id for _, id, _ in await store.list(check_name(task, "task"))]
    for begin in range(0, len(ids), AT_A_TIME):
        await asyncio.gather(*(store.invalidate(task, id) for id in ids[begin : begin + AT_A_TIME]))
    announce(client.transport, client.subjects, task, "")
    if ids:
        telemetry.count_cache("invalidation", task, len(ids))
    return len(ids)
