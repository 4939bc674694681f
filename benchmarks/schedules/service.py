"""The process of the timer service."""

import argparse
import asyncio
from pathlib import Path

from aiki.sdk import Client
from aiki.services.timer import TimerService
from benchmarks.loop import run
from benchmarks.region import REGION


def announce(ready: Path) -> None:
    """Say that it serves."""
    ready.touch()


async def serve(url: str, ready: Path) -> None:
    """Serve until the process is ended."""
    async with await Client.connect(url, region=REGION) as client, TimerService(client):
        announce(ready)
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--ready", required=True, type=Path)
    given = parser.parse_args()
    run(serve(given.url, given.ready))
