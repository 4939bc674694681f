"""Tasks and workflows that kill the process that runs them, until a file is there; each way of dying is its own."""

import asyncio
import ctypes
import os
import signal
import sys
from pathlib import Path

from aiki.sdk import Context, event, task, workflow
from tests.chaos.program import LOG

__all__ = ["POISON", "deadly", "die", "fine", "healthy", "poisoned_code", "poisoned_step", "poisoned_task", "proceed"]

proceed = event("proceed", int)


def antidote() -> Path:
    """With this file, nothing kills any more."""
    return Path(os.environ[LOG]).with_suffix(".antidote")


def die(manner: str) -> None:
    """End this process, as faulty code does."""
    if antidote().exists():
        return
    with Path(os.environ[LOG]).open("a") as log:
        log.write(f"{manner} {os.getpid()}\n")
    if manner == "exit":
        os._exit(3)
    if manner == "segfault":
        ctypes.string_at(0)
    if manner == "recursion":
        sys.setrecursionlimit(10**9)
        recurse(0)
    os.kill(os.getpid(), signal.SIGKILL)  # what the kernel does when there is no memory left
    signal.pause()


def recurse(depth: int) -> int:
    """Endlessly, and through C, so that the stack overflows."""
    return max(map(recurse, [depth + 1]))


@task(name="deadly", max_deaths=2)
async def deadly(manner: str) -> str:
    die(manner)
    return f"survived {manner}"


@task(name="fine")
async def fine(number: int) -> int:
    await asyncio.sleep(0.2)
    return number


@workflow(name="poisoned-task")
async def poisoned_task(ctx: Context, manner: str) -> str:
    return await deadly.run(ctx, manner)


@workflow(name="poisoned-step")
async def poisoned_step(ctx: Context, manner: str) -> str:
    first = await fine.run(ctx, 1)
    await ctx.step("deadly", lambda: die(manner))
    second = await ctx.wait_for(proceed)
    return f"{first}, {second}"


@workflow(name="poisoned-code")
async def poisoned_code(ctx: Context, manner: str) -> str:
    first = await fine.run(ctx, 1)
    die(manner)
    second = await ctx.wait_for(proceed)
    return f"{first}, {second}"


@workflow(name="healthy")
async def healthy(ctx: Context, number: int) -> int:
    return sum(await asyncio.gather(*(fine.run(ctx, number + part) for part in range(3))))


POISON = (deadly, fine, poisoned_task, poisoned_step, poisoned_code, healthy)
