"""Runs one workflow on an embedded NATS server, by the public surface alone, and prints its result."""

import asyncio
import sys
from datetime import timedelta
from pathlib import Path

import msgspec

from aiki.sdk import Client, Context, Worker, task, workflow
from aiki.transport.embedded import EmbeddedNats


class Numbers(msgspec.Struct):
    """The input of the workflow."""

    until: int


@task(name="square")
async def square(number: int) -> int:
    """One step."""
    return number * number


@workflow(name="squares", version="1.0.0")
async def squares(ctx: Context, numbers: Numbers) -> int:
    """The sum of squares, one durable task each, and a durable sleep in between."""
    parts = await asyncio.gather(*(square.run(ctx, number) for number in range(1, numbers.until + 1)))
    await ctx.sleep(timedelta(milliseconds=50))
    return sum(parts)


async def main() -> None:
    """Start a server, prepare it by the command, run the workflow, stop."""
    async with EmbeddedNats() as server:
        init = await asyncio.create_subprocess_exec(Path(sys.executable).with_name("aiki"), "init", "--url", server.url)
        assert await init.wait() == 0
        async with await Client.connect(server.url) as client:
            worker = Worker(client, id="worker-1")
            worker.registry.add(squares).add(square)
            async with worker:
                handle = await squares.enqueue(client, Numbers(until=5), idempotency_key="once")
                result = await handle.wait_for_completion(timeout=timedelta(seconds=30))
                status = await handle.get_status()
                print(f"{status.state}: {result}")


if __name__ == "__main__":
    asyncio.run(main())
