"""Tasks with limits, for workers that stand still or die; each body that begins writes a line: instant, process, what was said last."""

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

from aiki.sdk import Context, Retry, TaskContext, TaskTimedOut, task, workflow
from tests.chaos.program import LOG

__all__ = ["DEADLINE", "STEPS", "bounded", "climb", "climber", "read_begins", "stuck"]

STEPS = 40
DEADLINE = 4.0


def note(call: TaskContext) -> None:
    line = json.dumps([time.time(), os.getpid(), call.last_heartbeat]) + "\n"
    descriptor = os.open(os.environ[LOG], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def read_begins(log: Path) -> list[tuple[float, int, Any]]:
    """(instant, process id, last heartbeat) of each body that began."""
    return [tuple(json.loads(line)) for line in log.read_text().splitlines()] if log.exists() else []


@task(name="climb", heartbeat=2, retry=Retry.fixed(max_attempts=20, delay=0.1))
async def climb(steps: int, call: TaskContext) -> list[int]:
    """From where the last attempt stood: answers where this one began, and where it ended."""
    note(call)
    first = done = (call.last_heartbeat or {"done": 0})["done"]
    while done < steps:
        await asyncio.sleep(0.1)
        done += 1
        call.heartbeat({"done": done})
    return [first, done]


@task(name="stuck", deadline=DEADLINE)
async def stuck(number: int, call: TaskContext) -> int:
    note(call)
    await asyncio.Event().wait()
    return number


@workflow(name="climber")
async def climber(ctx: Context, steps: int) -> list[int]:
    return await climb.run(ctx, steps)


@workflow(name="bounded")
async def bounded(ctx: Context) -> list[Any]:
    began = ctx.now()
    try:
        await stuck.run(ctx, 1)
    except TaskTimedOut as error:
        return [error.limit, (ctx.now() - began).total_seconds()]
    raise AssertionError
