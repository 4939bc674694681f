"""A worker process for a task that raises what nobody else can import: `python -m tests.integration.engine.raising URL REGION`."""

import asyncio
import sys
from collections.abc import Callable

from aiki.sdk import Client, Worker, task

__all__ = ["raises"]


class OutOfStock(Exception):
    """It cannot be pickled, and takes arguments that no other process could give it."""

    def __init__(self, what: str, undo: Callable[[], None]) -> None:
        super().__init__(f"{what} is out of stock")
        self.undo = undo


def deeper(what: str) -> None:
    try:
        dict[str, str]()[what]
    except KeyError as error:
        raise OutOfStock(what, lambda: None) from error


@task(name="raises")
async def raises(what: str) -> str:
    deeper(what)
    return what


async def serve(url: str, region: str) -> None:
    async with await Client.connect(url, region=region, timeout=20) as client:
        worker = Worker(client, id="raising")
        worker.registry.add(raises)
        async with worker:
            print("ready", flush=True)
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
