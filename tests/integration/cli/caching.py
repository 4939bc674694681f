"""A cached task, for the tests of the command line."""

from aiki.sdk import Cache, Context, task, workflow

__all__ = ["fetch", "reads"]


@task(name="fetch", cache=Cache(key=lambda number: f"number {number}"))
async def fetch(number: int) -> int:
    return 10 * number


@workflow(name="reads")
async def reads(ctx: Context, number: int) -> int:
    return await fetch.run(ctx, number)
