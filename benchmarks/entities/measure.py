"""`python -m benchmarks entities`: one JSON line.

A server, one worker process and the client's process. `asks_s`: asks that change and store a state, to `--actors` different actors,
`--conc` at a time. `p50_ms`, `p99_ms`: one actor asked again and again, nothing else going on. `read_p50_ms`: the same, read-only.
`pss_mb`: the worker's memory after `--touched` actors were asked once each; `cold_asks_s`: how fast that went.
"""

import argparse
import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Sequence

from aiki.sdk import ActorRef, Client
from benchmarks.beside import beside
from benchmarks.child import Child
from benchmarks.entities.program import Counter
from benchmarks.loop import run
from benchmarks.percentile import percentile
from benchmarks.procfs import cpu_seconds, pss_mb

__all__ = ["main"]


def main(words: Sequence[str]) -> int:
    """Measure, and print the line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks entities", description=__doc__)
    parser.add_argument("--asks", type=int, default=50_000)
    parser.add_argument("--actors", type=int, default=1000)
    parser.add_argument("--conc", type=int, default=256)
    parser.add_argument("--lone", type=int, default=2000)
    parser.add_argument("--touched", type=int, default=100_000)
    print(json.dumps(run(measure(parser.parse_args(words)))), flush=True)
    return 0


async def measure(given: argparse.Namespace) -> dict[str, object]:
    """The figures."""
    load = os.getloadavg()
    async with beside("benchmarks.entities.worker") as (client, process):
        return {**await figures(client, process, given), "load": [round(each, 2) for each in load]}


async def figures(client: Client, worker: Child, given: argparse.Namespace) -> dict[str, object]:
    refs = [Counter.ref(client, f"a{number}") for number in range(given.actors)]
    for batch in range(0, len(refs), given.conc):
        await asyncio.gather(*(ref.ask.add(0) for ref in refs[batch : batch + given.conc]))

    samples = await one_after_another(lambda: refs[0].ask.add(1), given.lone)
    reads = await one_after_another(refs[0].ask.read, given.lone)

    cpu, began = cpu_seconds([worker.pid]), time.perf_counter()
    await at_a_time(refs, given.asks, given.conc)
    took = time.perf_counter() - began
    cpu = cpu_seconds([worker.pid]) - cpu
    asked = sum(await asyncio.gather(*(ref.ask.read() for ref in refs))) - given.lone
    if asked != given.asks:
        raise AssertionError(f"{given.asks} asks were answered, and {asked} are stored")

    cold, began = 0.0, time.perf_counter()
    if given.touched:
        await at_a_time([Counter.ref(client, f"t{number}") for number in range(given.touched)], given.touched, given.conc)
        cold = given.touched / (time.perf_counter() - began)
    return {
        "workload": "entities",
        "asks": given.asks,
        "actors": given.actors,
        "conc": given.conc,
        "asks_s": round(given.asks / took),
        "worker_cpu_us_per_ask": round(cpu / given.asks * 1e6),
        "p50_ms": round(percentile(samples, 50), 3),
        "p99_ms": round(percentile(samples, 99), 3),
        "read_p50_ms": round(percentile(reads, 50), 3),
        "touched": given.touched,
        "cold_asks_s": round(cold),
        "pss_mb": round(pss_mb([worker.pid]), 1),
    }


async def one_after_another(ask: Callable[[], Awaitable[int]], count: int) -> list[float]:
    samples = []
    for _ in range(count):
        began = time.perf_counter()
        await ask()
        samples.append((time.perf_counter() - began) * 1000)
    return samples


async def at_a_time(refs: Sequence[ActorRef[Counter]], count: int, conc: int) -> None:
    numbers = iter(range(count))

    async def asker() -> None:
        for number in numbers:
            await refs[number % len(refs)].ask.add(1)

    await asyncio.gather(*(asker() for _ in range(conc)))
