"""The worker process of the benchmark."""

import argparse
import asyncio
import gc
from pathlib import Path

from aiki.sdk import Client, Worker
from benchmarks.entities.program import Counter
from benchmarks.loop import run
from benchmarks.region import REGION

__all__ = ["serve"]


def announce(ready: Path) -> None:
    """Say that the worker serves."""
    ready.touch()


async def serve(url: str, ready: Path) -> None:
    """Serve until the process is ended."""
    async with await Client.connect(url, region=REGION) as client:
        worker = Worker(client, id="actors")
        worker.registry.add(Counter)
        async with worker:
            gc.freeze()
            announce(ready)
            await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--ready", required=True, type=Path)
    given = parser.parse_args()
    run(serve(given.url, given.ready))
