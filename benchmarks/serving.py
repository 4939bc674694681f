"""A process that serves until it is ended: a worker, or a service."""

import argparse
import asyncio
import gc
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from aiki.sdk import Client, Worker
from benchmarks.loop import run
from benchmarks.region import REGION

__all__ = ["main", "worker_of"]

Service = Callable[[Client], AbstractAsyncContextManager[object]]


def worker_of(*definitions: Any) -> Service:
    """A worker that serves these."""

    def worker(client: Client) -> Worker:
        made = Worker(client, id="bench")
        for definition in definitions:
            made.registry.add(definition)
        return made

    return worker


def announce(ready: Path) -> None:
    """Say that it serves."""
    ready.touch()


async def serve(url: str, ready: Path, service: Service) -> None:
    """Serve until the process is ended."""
    async with await Client.connect(url, region=REGION) as client, service(client):
        gc.freeze()
        announce(ready)
        await asyncio.Event().wait()


def main(service: Service) -> None:
    """The process: `--url` of the server, `--ready` a file that it makes once it serves."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--ready", required=True, type=Path)
    given = parser.parse_args()
    run(serve(given.url, given.ready, service))
