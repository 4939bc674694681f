"""`python -m benchmarks blobs`: one JSON line a kind of payload.

A task takes a payload of `--megabytes` and returns it. Client and task worker share a process and its loop; the workflow's code runs in
another. `seconds`: from the start of the run to its result in the client's hands. `gap_ms`: the longest time in which the loop of the task
worker did nothing else, told by a ticker of a millisecond; `idle_gap_ms`: the same for three seconds in which nothing is asked of it.
`--kinds`: `str`, `bytes` (base64 in JSON), and `list`: texts, encoded in one go.
"""

import argparse
import asyncio
import json
import os
import time
from collections.abc import Sequence
from typing import Any

from aiki.sdk import Client, Worker
from benchmarks.beside import beside
from benchmarks.blobs.program import KINDS
from benchmarks.loop import run

__all__ = ["Ticker", "main", "payload", "through"]


class Ticker:
    """Ticks each millisecond; `gap` is the longest time, in seconds, that it was kept from that. `async with`."""

    def __init__(self) -> None:
        self.gap = 0.0
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Ticker":
        self._task = asyncio.create_task(self._tick())
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.sleep(0.005)
        if self._task is not None:
            self._task.cancel()

    async def _tick(self) -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            self.gap, last = max(self.gap, now - last), now


def payload(kind: str, size: int) -> Any:
    """About `size` bytes."""
    if kind == "bytes":
        return os.urandom(size)
    line = "The quick brown fox jumps over the lazy dög.\n"
    lines = size // len(line)
    return line * lines if kind == "str" else [line] * lines


def main(words: Sequence[str]) -> int:
    """Measure, and print the lines."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks blobs", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--kinds", nargs="+", choices=tuple(KINDS), default=list(KINDS))
    return run(measure(parser.parse_args(words)))


async def measure(given: argparse.Namespace) -> int:
    """Print the figures."""
    async with beside("benchmarks.blobs.worker") as (client, _):
        async with Ticker() as idle:
            await asyncio.sleep(3)
        for kind in given.kinds:
            seconds, gap = await through(client, kind, given.megabytes * 1_000_000)
            figures = {"kind": kind, "megabytes": given.megabytes, "seconds": round(seconds, 2), "gap_ms": round(gap * 1000, 1)}
            figures["idle_gap_ms"] = round(idle.gap * 1000, 1)
            print(json.dumps({**figures, "load": [round(each, 2) for each in os.getloadavg()]}), flush=True)
    return 0


async def through(client: Client, kind: str, size: int) -> tuple[float, float]:
    """Seconds of a payload's way through a task and back, and the longest gap of this loop meanwhile."""
    program, task = KINDS[kind]
    worker = Worker(client)
    worker.registry.add(task)
    given = payload(kind, size)
    async with worker:
        began = time.perf_counter()
        async with Ticker() as ticker:
            handle = await program.enqueue(client, given)
            result = await handle.wait_for_completion(timeout=120)
            seconds = time.perf_counter() - began
        if result != given:
            raise AssertionError(f"another {kind} came back")
    return seconds, ticker.gap
