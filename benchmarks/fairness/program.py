"""The same work with and without fairness."""

import asyncio
import time

import msgspec

from aiki.sdk import Context, task, workflow

__all__ = ["Batch", "batch", "fair", "plain"]

LENGTH = 0.01
"""Seconds of a body."""


class Batch(msgspec.Struct):
    """So many tasks of one tenant at once."""

    tenant: str
    width: int
    is_fair: bool


@task(name="plain")
async def plain(tenant: str) -> float:
    """The instant at which it begins."""
    began = time.time()
    await asyncio.sleep(LENGTH)
    return began


@task(name="fair", fair=lambda tenant: tenant)
async def fair(tenant: str) -> float:
    """The instant at which it begins."""
    began = time.time()
    await asyncio.sleep(LENGTH)
    return began


@workflow(name="batch")
async def batch(ctx: Context, given: Batch) -> float:
    """When the last of them began."""
    body = fair if given.is_fair else plain
    return max(await asyncio.gather(*(body.run(ctx, given.tenant) for _ in range(given.width))))
