"""A saga under fire: it fails in its first attempts, and each of its steps and of its undoings is slow enough to be killed."""

import asyncio

from aiki.sdk import Context, Retry, TaskContext, task, workflow
from tests.chaos.program import began

__all__ = ["STEPS", "pack", "trip", "unpack"]

STEPS = 8


@task(name="pack")
async def pack(number: int, info: TaskContext) -> str:
    began(info, number)
    await asyncio.sleep(0.02)
    return info.idempotency_key


@task(name="unpack", local=True)
async def unpack(packed: str, info: TaskContext) -> str:
    began(info, 1000)
    await asyncio.sleep(0.02)
    return packed


@workflow(name="trip", retry=Retry.fixed(max_attempts=3, delay=0.1))
async def trip(ctx: Context, failures: int) -> int:
    """Packs, and unpacks again in as many attempts as it is told to fail, of three."""
    async with ctx.saga() as saga:
        for number in range(STEPS):
            await saga.run(pack, number, undo=unpack)
        if ctx.attempt <= failures:
            raise ValueError("the trip is off")
    return ctx.attempt
