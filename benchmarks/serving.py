"""A worker process that serves some definitions until it is ended."""

import argparse
import asyncio
import gc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiki.sdk import Client, Worker
from benchmarks.loop import run
from benchmarks.region import REGION

__all__ = ["main"]


def announce(ready: Path) -> None:
    """Say that the worker serves."""
    ready.touch()


async def serve(url: str, ready: Path, definitions: Sequence[Any]) -> None:
    """Serve until the process is ended."""
    async with await Client.connect(url, region=REGION) as client:
        worker = Worker(client, id="bench")
        for definition in definitions:
            worker.registry.add(definition)
        async with worker:
            gc.freeze()
            announce(ready)
            await asyncio.Event().wait()


def main(definitions: Sequence[Any]) -> None:
    """The process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--ready", required=True, type=Path)
    given = parser.parse_args()
    run(serve(given.url, given.ready, definitions))
