"""What runs under fire, and its log: each body writes a line when it begins, in one append, so that a kill cannot tear or lose it."""

import asyncio
import os
import time
from pathlib import Path

from aiki.sdk import Context, Retry, TaskContext, task, workflow

__all__ = ["LOG", "flaky", "journey", "local", "read_log", "remote", "total"]  # fmt: skip

LOG = "AIKI_CHAOS_LOG"
"""The environment variable that names the log."""


def began(info: TaskContext, number: int) -> None:
    """Log that a body begins: instant, run, step's key, attempt, process."""
    line = f"{time.time():.6f} {info.run_id} {info.idempotency_key} {info.attempt} {os.getpid()} {number}\n"
    descriptor = os.open(os.environ[LOG], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def read_log(log: Path) -> list[tuple[float, str, int]]:
    """(instant, step's key, process id) of each body that began."""
    if not log.exists():
        return []
    return [(float(fields[0]), fields[2], int(fields[4])) for line in log.read_text().splitlines() if len(fields := line.split()) == 6]


@task(name="local", local=True)
async def local(number: int, info: TaskContext) -> int:
    began(info, number)
    await asyncio.sleep(0.005)
    return number


@task(name="remote")
async def remote(number: int, info: TaskContext) -> int:
    began(info, number)
    await asyncio.sleep(0.02)
    return number


@task(name="flaky", retry=Retry.fixed(max_attempts=3, delay=0.01))
async def flaky(number: int, info: TaskContext) -> int:
    began(info, number)
    if info.attempt < 2:
        raise ValueError("once")
    return number


@workflow(name="journey")
async def journey(ctx: Context, stages: int) -> int:
    """Local steps, parallel remote ones, retries and short sleeps."""
    total = 0
    for stage in range(stages):
        total += await local.run(ctx, stage)
        total += sum(await asyncio.gather(remote.run(ctx, 100 + stage), remote.run(ctx, 200 + stage), local.run(ctx, 300 + stage)))
        total += await flaky.run(ctx, 400 + stage)
        await ctx.sleep(0.05)
    return total


def total(stages: int) -> int:
    """What a run of `journey` must come to."""
    return sum(5 * stage + 1000 for stage in range(stages))
