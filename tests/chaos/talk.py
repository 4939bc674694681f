"""Runs that are talked to while their workers die."""

import asyncio
from typing import Any

from aiki.sdk import Context, Variables, event, task, workflow

__all__ = ["TALK", "account", "collect", "guard", "number", "tree"]

number = event("number", int)
never = event("never", int)


@task(name="work")
async def work(value: int) -> int:
    await asyncio.sleep(0.01)
    return value


@task(name="note", local=True)
async def note(value: int) -> int:
    return value


@workflow(name="collect", events=[number])
async def collect(ctx: Context, most: int) -> list[int]:
    """All events, in their order, with work in between."""
    seen: list[int] = []
    while len(seen) < most:
        seen.append(await ctx.wait_for(number))
        if ctx.random() < 0.1:
            await work.run(ctx, len(seen))
    return seen


@workflow(name="tree")
async def tree(ctx: Context, levels: int) -> int:
    """The number of leaves below."""
    if levels == 0:
        return await work.run(ctx, 1)
    return sum(await asyncio.gather(*(tree.run(ctx, levels - 1) for _ in range(3))))


@workflow(name="guard")
async def guard(ctx: Context, id: int) -> None:
    """Works until it is cancelled, and then cleans up."""
    try:
        while True:
            await work.run(ctx, id)
            child = await tree.start(ctx, 0)
            assert child.workflow == "tree"
            await ctx.sleep(0.02)
    finally:
        async with ctx.shielded():
            await note.run(ctx, id)
            await work.run(ctx, id)


@workflow(name="account")
async def account(ctx: Context, most: int) -> list[int]:
    """What was booked by updates."""
    booked: list[int] = []
    full = asyncio.Event()
    await full.wait()
    return booked


@account.update("book")
async def book(state: Variables, amount: int) -> int:
    if amount % 3 == 0:
        await work.run(state.ctx, amount)
    state.booked.append(amount)
    if len(state.booked) == state.most:
        state.full.set()
    return len(state.booked)


TALK: tuple[Any, ...] = (work, note, collect, tree, guard, account)
