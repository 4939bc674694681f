"""`python -m benchmarks schedules`: one JSON line.

`--schedules` schedules that are all due every `--every` seconds, one process of the timer service, no worker: the starts of runs stay in
their mailbox. `late_*`: from the instant that was planned until the server has stored the start, by the server's clock. `missed`, `twice`:
firings without a start, and with two.
"""

import argparse
import asyncio
import json
import os
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from aiki.actors import topology
from aiki.sdk import Client, Context, Schedule, workflow
from aiki.transport.port import Delivery
from benchmarks.beside import beside
from benchmarks.child import Child
from benchmarks.loop import run
from benchmarks.percentile import percentile
from benchmarks.procfs import cpu_seconds, pss_mb

__all__ = ["main"]


@workflow(name="scheduled")
async def scheduled(ctx: Context) -> None:
    """Never run: nobody serves it."""


def main(words: Sequence[str]) -> int:
    """Measure, and print the line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks schedules", description=__doc__)
    parser.add_argument("--schedules", type=int, default=10_000)
    parser.add_argument("--every", type=float, default=60.0)
    parser.add_argument("--firings", type=int, default=2)
    print(json.dumps(run(measure(parser.parse_args(words)))), flush=True)
    return 0


async def measure(given: argparse.Namespace) -> dict[str, object]:
    """The figures."""
    load = os.getloadavg()
    async with beside("benchmarks.schedules.service") as (client, process):
        return {**await figures(client, process, given), "load": [round(each, 2) for each in load]}


async def figures(client: Client, service: Child, given: argparse.Namespace) -> dict[str, object]:
    """Create the schedules, and wait for their firings."""
    starts: list[tuple[str, float]] = []
    fired = asyncio.Event()
    expected = given.schedules * given.firings

    def take(delivery: Delivery) -> None:
        starts.append((delivery.subject, delivery.timestamp))
        delivery.ack()
        if len(starts) >= expected:
            fired.set()

    subjects = client.subjects
    spec = topology.consumer(subjects.mail_stream, "bench", subjects.run_mail(scheduled.name, scheduled.version))
    await client.transport.ensure_consumer(spec)
    await client.transport.consume(subjects.mail_stream, "bench", take, window=10_000)

    now = await client.now()
    room = 5 + given.schedules / 1000
    every = given.every
    first = (int((now + room) / every) + 1) * every
    numbers = iter(range(given.schedules))

    async def create() -> None:
        for number in numbers:
            schedule = Schedule.every(
                timedelta(seconds=every), start=datetime.fromtimestamp(first, UTC), max_firings=given.firings, overlap="allow"
            )
            await scheduled.schedule(client, schedule, id=f"bench-{number}")

    await asyncio.gather(*(create() for _ in range(64)))
    created = await client.now()
    if created > first:
        raise AssertionError(f"it took too long to create the schedules: {created - first:.1f} s too long")
    cpu = cpu_seconds([service.pid])
    async with asyncio.timeout(first - created + every * given.firings + 60):
        await fired.wait()
    late = [(stored - first) % every * 1000 for _, stored in starts]
    counts = Counter(subject for subject, _ in starts)
    return {
        "workload": "schedules",
        "schedules": given.schedules,
        "every_s": every,
        "firings": len(starts),
        "missed": expected - len(counts),
        "twice": sum(count - 1 for count in counts.values()),
        "late_p50_ms": round(percentile(late, 50), 1),
        "late_p99_ms": round(percentile(late, 99), 1),
        "late_max_ms": round(max(late), 1),
        "timer_cpu_us_per_firing": round((cpu_seconds([service.pid]) - cpu) / expected * 1e6),
        "timer_pss_mb": round(pss_mb([service.pid]), 1),
    }
