"""A client process, `python -m tests.chaos.starter URL REGION COUNT STAGES`: prints each run's id as soon as its start is acknowledged."""

import asyncio
import sys

from aiki.sdk import Client
from tests.chaos.program import journey


async def start(url: str, region: str, count: int, stages: int) -> None:
    client = await Client.connect(url, region=region, timeout=20)
    for _ in range(count):
        handle = await journey.enqueue(client, stages)
        print(handle.id, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(start(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
