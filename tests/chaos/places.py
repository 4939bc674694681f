"""A workflow with a limit of its runs, for workers that die; each run writes a line when its body begins, and one when it ends."""

import asyncio

from aiki.sdk import Concurrency, Context, TaskContext, task, workflow
from tests.chaos.gates import Load, note

__all__ = ["occupied", "stay"]


@task(name="stay")
async def stay(load: Load, call: TaskContext) -> int:
    note("begin", load, call)
    await asyncio.sleep(0.3)
    note("end", load, call)
    return load.number


@workflow(name="occupied", concurrency=Concurrency(1, key=lambda load: load.customer))
async def occupied(ctx: Context, load: Load) -> int:
    return await stay.run(ctx, load)
