"""`python -m benchmarks blobs`: one JSON line a kind of payload.

A task takes a payload of `--megabytes` and returns it; client, worker and task share a process and its loop. `seconds`: from the start of the
run to its result in the client's hands. `gap_ms`: the longest time in which the loop did nothing else, told by a ticker of a millisecond.
`--kinds`: `str`, `bytes` (base64 in JSON) and `list` (of texts, which is encoded and decoded in one go).
"""

import argparse
import asyncio
import json
import os
import time
from collections.abc import Sequence
from typing import Any

from aiki.actors import init
from aiki.sdk import Client, Context, Task, Worker, Workflow, task, workflow
from aiki.transport import EmbeddedNats
from benchmarks.loop import run

__all__ = ["Ticker", "main", "programs"]


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


def programs(kind: type[Any]) -> tuple[Workflow[int, int], Task[Any, Any, ..., Any]]:
    """A task that takes and returns a payload, and a workflow that has it do so; the workflow itself makes it and looks at its length."""

    async def echo(value: Any) -> Any:
        return value

    echo.__annotations__ = {"value": kind, "return": kind}
    made = task(name="echo")(echo)

    @workflow(name="echoes")
    async def echoes(ctx: Context, value: Any) -> Any:
        return await made.run(ctx, value)

    return echoes, made


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
    parser.add_argument("--kinds", nargs="+", choices=("str", "bytes", "list"), default=["str", "bytes", "list"])
    given = parser.parse_args(words)
    for kind in given.kinds:
        print(json.dumps(run(measure(kind, given.megabytes * 1_000_000))), flush=True)
    return 0
