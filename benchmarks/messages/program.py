"""The workflows that messages are sent to. They read the clock, which is not durable: that is what is measured."""

import asyncio
import time

from aiki.sdk import Context, Variables, event, task, workflow

__all__ = ["child", "counter", "nap", "never", "parent", "tick", "wide"]

tick = event("tick", float)


@workflow(name="counter")
async def counter(ctx: Context, most: int) -> list[float]:
    """How late each event reached the code, in seconds; its payload is when it was sent."""
    late: list[float] = []
    while len(late) < most:
        sent = await ctx.wait_for(tick)
        late.append(time.time() - sent)
    return late


@counter.query("count")
def count(state: Variables) -> int:
    return len(state.late)


@counter.update("add")
async def add(state: Variables, by: int) -> int:
    return by + 1


@workflow(name="child")
async def child(ctx: Context) -> float:
    """The instant at which it ends."""
    return time.time()


@workflow(name="parent")
async def parent(ctx: Context, children: int) -> list[float]:
    """How long after the end of each child the code went on, in seconds."""
    return [await _late(ctx) for _ in range(children)]


async def _late(ctx: Context) -> float:
    ended = await child.run(ctx)
    return time.time() - ended


@task(name="never", queue="nobody")
async def never(number: int) -> int:
    return number


@workflow(name="wide")
async def wide(ctx: Context, width: int) -> None:
    """Waits for tasks that nobody serves."""
    await asyncio.gather(*(never.run(ctx, number) for number in range(width)))


@workflow(name="nap")
async def nap(ctx: Context) -> None:
    """A run that is over at once."""
