"""A place for one test: a region of its own on the session's server, with the clients and workers that the test asks for."""

import asyncio
import itertools
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

import nats

from aiki.actors import init
from aiki.sdk import Client, Task, Worker, Workflow
from aiki.transport import EmbeddedNats

__all__ = ["Place", "eventually"]

_numbers = itertools.count(1)

Definition = Workflow[Any, Any] | Task[Any, Any, ..., Any] | type[Any]


class Place:
    """Makes clients and workers, and ends them with the test. `client` is the first of them."""

    client: Client

    def __init__(self, server: EmbeddedNats, region: str | None = None) -> None:
        self.server = server
        self.region = region if region is not None else f"t{os.getpid()}-{next(_numbers)}"
        self._clients: list[Client] = []
        self._workers: list[Worker] = []

    async def open(self) -> None:
        """Connect and create the region's streams."""
        self.client = await self.connect()
        await init(self.client.transport, region=self.region)

    async def connect(self) -> Client:
        """Another client, with a connection of its own."""
        client = await Client.connect(self.server.url, region=self.region)
        self._clients.append(client)
        return client

    async def worker(self, *definitions: Definition, client: Client | None = None, **options: Any) -> Worker:
        """A started worker (on a connection of its own, unless `client` is given)."""
        worker = Worker(client or await self.connect(), **options)
        for definition in definitions:
            worker.registry.add(definition)
        await worker.start()
        self._workers.append(worker)
        return worker

    async def sequences(self) -> dict[str, int]:
        """How many messages each stream of runs, mail and tasks has ever stored."""
        subjects = self.client.subjects
        connection = await nats.connect(self.server.url)
        try:
            found = {}
            for name in (subjects.runs_stream, subjects.mail_stream, subjects.task_stream):
                found[name] = (await connection.jsm().stream_info(name)).state.last_seq
            return found
        finally:
            await connection.close()

    async def close(self) -> None:
        """Stop the workers, close the connections, and delete the streams."""
        await asyncio.gather(*(worker.stop(0.2) for worker in self._workers))
        for client in self._clients:
            await client.close()


async def eventually(check: Callable[[], Awaitable[bool]], within: float = 10.0) -> None:
    """Until `check` is true; `TimeoutError` when that takes too long."""
    limit = time.monotonic() + within
    while not await check():
        if time.monotonic() > limit:
            raise TimeoutError(f"not within {within:g} s")
        await asyncio.sleep(0.01)
