"""A task with a gate, for workers that die; each body writes a line when it begins, and one when it ends."""

import asyncio
import json
import os
import time
from pathlib import Path

import msgspec

from aiki.sdk import Concurrency, Context, TaskContext, task, workflow
from tests.chaos.program import LOG

__all__ = ["ALL", "EACH", "Load", "haul", "hold", "read_spans"]

ALL, EACH = 4, 1


class Load(msgspec.Struct):
    customer: str
    number: int


def note(what: str, load: Load, call: TaskContext) -> None:
    line = json.dumps([time.time(), os.getpid(), what, call.idempotency_key, load.customer]) + "\n"
    descriptor = os.open(os.environ[LOG], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def read_spans(log: Path) -> list[tuple[float, int, str, str, str]]:
    """(instant, process id, "begin" or "end", step, customer), oldest first."""
    return sorted(tuple(json.loads(line)) for line in log.read_text().splitlines()) if log.exists() else []


@task(name="hold", limits=[Concurrency(ALL), Concurrency(EACH, key=lambda load: load.customer)])
async def hold(load: Load, call: TaskContext) -> int:
    note("begin", load, call)
    await asyncio.sleep(0.15)
    note("end", load, call)
    return load.number


@workflow(name="haul")
async def haul(ctx: Context, loads: list[Load]) -> list[int]:
    return list(await asyncio.gather(*(hold.run(ctx, load) for load in loads)))
