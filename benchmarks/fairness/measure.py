"""`python -m benchmarks fairness`: one JSON line.

One tenant queues `--queued` tasks (runs of `--width` each); then, one after another, `--singles` runs of a single task of another tenant
start. `delay_*_ms`: from such a start until its task begins. `waiting`: how many of the first tenant's tasks wait when the first of them
starts, and when the last has ended; `tasks_s`: how many begin a second meanwhile. `--plain`: the same without fairness.
"""

import argparse
import asyncio
import json
import os
import time
from collections.abc import Sequence

from aiki.sdk import Client
from benchmarks.beside import beside
from benchmarks.fairness.program import Batch, batch
from benchmarks.loop import run
from benchmarks.percentile import percentile

__all__ = ["main"]

AT_ONCE = 200
SAMPLES = 240
"""Of how many wait, half a second apart: at most so many."""


def main(words: Sequence[str]) -> int:
    """Measure, and print the line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks fairness", description=__doc__)
    parser.add_argument("--queued", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=50)
    parser.add_argument("--singles", type=int, default=20)
    parser.add_argument("--plain", action="store_true")
    print(json.dumps(run(measure(parser.parse_args(words)))), flush=True)
    return 0


async def measure(given: argparse.Namespace) -> dict[str, object]:
    """The figures."""
    load = os.getloadavg()
    async with beside("benchmarks.fairness.worker") as (client, _):
        return {**await figures(client, given), "load": [round(each, 2) for each in load]}


async def figures(client: Client, given: argparse.Namespace) -> dict[str, object]:
    """Queue, then start the single ones."""
    began = time.time()
    numbers = iter(range(given.queued // given.width))

    async def fill() -> None:
        for number in numbers:
            await batch.enqueue(client, Batch("crowd", given.width, not given.plain), idempotency_key=f"crowd-{number}")

    await asyncio.gather(*(fill() for _ in range(AT_ONCE)))
    before, at = await queued(client, given.plain), time.time()
    delays = []
    for _ in range(given.singles):
        start = time.time()
        handle = await batch.enqueue(client, Batch("single", 1, not given.plain))
        delays.append((await handle.wait_for_completion() - start) * 1000)
    after, span = await backlog(client, given.plain), time.time() - at
    return {
        "workload": "fairness",
        "fair": not given.plain,
        "queued": given.queued,
        "waiting": [before, after],
        "queueing_s": round(at - began, 1),
        "tasks_s": round((before - after) / span),
        "delay_p50_ms": round(percentile(delays, 50), 1),
        "delay_max_ms": round(max(delays), 1),
    }


async def queued(client: Client, plain: bool) -> int:
    """How many wait once no more come."""
    most = 0
    for _ in range(SAMPLES):
        await asyncio.sleep(0.5)
        if (count := await backlog(client, plain)) <= most:
            break
        most = count
    return most


async def backlog(client: Client, plain: bool) -> int:
    """How many tasks of the crowd wait."""
    subjects = client.subjects
    name = "plain" if plain else "fair"
    waiting, _ = await client.transport.backlog(subjects.task_stream, subjects.task_consumer("default", name))
    room = subjects.waiting_room(subjects.gate_key("default", name))
    return waiting + len(await client.transport.subjects(subjects.task_stream, room + ">"))
