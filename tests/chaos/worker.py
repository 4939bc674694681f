"""A worker process, `python -m tests.chaos.worker URL REGION NAME`: says "ready" once it serves, and serves until it is ended."""

import asyncio
import sys

from aiki.sdk import Client, Worker
from tests.chaos.program import flaky, journey, local, remote


async def serve(url: str, region: str, name: str) -> None:
    async with await Client.connect(url, region=region, timeout=20) as client:
        worker = Worker(client, id=name)
        worker.registry.add(journey).add(local).add(remote).add(flaky)
        async with worker:
            print("ready", flush=True)
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:4]))
