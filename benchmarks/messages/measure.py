"""`python -m benchmarks messages`: one JSON line.

A server, one worker process and the client's process. `event_*`: from the call of `send` to the workflow's next line, one after another.
`child_*`: from the end of a sub-workflow's code to its parent's next line. `cancel_ms`: from the call of `cancel` until all queued tasks of
a run of `--width` are out of their queue. `events_s`: events to one run, sent `--conc` at a time, from the first call until the run has
taken all; `other_p50_ms`, `other_p99_ms`: start to end of other runs in the meantime. `query_p50_ms`, `update_p50_ms`: call to answer.
"""

import argparse
import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Sequence

from aiki.sdk import Client
from benchmarks.beside import beside
from benchmarks.loop import run
from benchmarks.messages.program import counter, nap, parent, tick, wide
from benchmarks.percentile import percentile

__all__ = ["main"]


def main(words: Sequence[str]) -> int:
    """Measure, and print the line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks messages", description=__doc__)
    parser.add_argument("--lone", type=int, default=500)
    parser.add_argument("--children", type=int, default=300)
    parser.add_argument("--width", type=int, default=200)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--conc", type=int, default=256)
    print(json.dumps(run(measure(parser.parse_args(words)))), flush=True)
    return 0


async def measure(given: argparse.Namespace) -> dict[str, object]:
    """The figures."""
    load = os.getloadavg()
    async with beside("benchmarks.messages.worker") as (client, _):
        return {
            "workload": "messages",
            **await events(client, given.lone),
            **await children(client, given.children),
            **await cancellation(client, given.width),
            **await flood(client, given.events, given.conc),
            "load": [round(each, 2) for each in load],
        }


async def events(client: Client, count: int) -> dict[str, object]:
    handle = await counter.enqueue(client, count)
    for _ in range(count):
        await handle.send(tick, time.time())
    late = [each * 1000 for each in await handle.wait_for_completion()]
    handle = await counter.enqueue(client, 1)
    await handle.update("add", 1)
    queries = await one_after_another(lambda: handle.query("count"), count)
    updates = await one_after_another(lambda: handle.update("add", 1), count)
    return {
        "event_p50_ms": round(percentile(late, 50), 3),
        "event_p99_ms": round(percentile(late, 99), 3),
        "query_p50_ms": round(percentile(queries, 50), 3),
        "update_p50_ms": round(percentile(updates, 50), 3),
    }


async def children(client: Client, count: int) -> dict[str, object]:
    late = [each * 1000 for each in await (await parent.enqueue(client, count)).wait_for_completion()]
    return {"children": count, "child_p50_ms": round(percentile(late, 50), 3), "child_p99_ms": round(percentile(late, 99), 3)}


async def cancellation(client: Client, width: int) -> dict[str, object]:
    handle = await wide.enqueue(client, width)
    stream, pattern = client.subjects.task_stream, f"{client.subjects.task_prefix}*.*.{handle.id}.*"
    await until(client, stream, pattern, width)
    began = time.perf_counter()
    await handle.cancel()
    await until(client, stream, pattern, 0)
    return {"width": width, "cancel_ms": round((time.perf_counter() - began) * 1000, 1)}


async def until(client: Client, stream: str, pattern: str, count: int) -> None:
    """Look again and again until so many subjects hold a message."""
    while len(await client.transport.subjects(stream, pattern)) != count:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.001)


async def flood(client: Client, count: int, conc: int) -> dict[str, object]:
    handle = await counter.enqueue(client, count)
    numbers = iter(range(count))
    over = asyncio.Event()

    async def sender() -> None:
        for _ in numbers:
            await handle.send(tick, time.time())

    async def others() -> list[float]:
        samples = []
        while not over.is_set():
            began = time.perf_counter()
            await (await nap.enqueue(client)).wait_for_completion()
            samples.append((time.perf_counter() - began) * 1000)
        return samples

    other = asyncio.ensure_future(others())
    began = time.perf_counter()
    await asyncio.gather(*(sender() for _ in range(conc)))
    sent = time.perf_counter() - began
    late = await handle.wait_for_completion()
    took = time.perf_counter() - began
    over.set()
    if len(late) != count:
        raise AssertionError(f"{count} events were sent, and {len(late)} were taken")
    samples = await other
    return {
        "events": count,
        "conc": conc,
        "events_s": round(count / took),
        "sent_s": round(count / sent),
        "other_p50_ms": round(percentile(samples, 50), 2),
        "other_p99_ms": round(percentile(samples, 99), 2),
    }


async def one_after_another(ask: Callable[[], Awaitable[object]], count: int) -> list[float]:
    samples = []
    for _ in range(count):
        began = time.perf_counter()
        await ask()
        samples.append((time.perf_counter() - began) * 1000)
    return samples
