"""A server on a fresh store, one process beside it, and a client: what the benchmarks without peers need."""

import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiki.actors import init
from aiki.sdk import Client
from aiki.transport.embedded import EmbeddedNats
from benchmarks.child import Child
from benchmarks.region import REGION

__all__ = ["beside"]


@asynccontextmanager
async def beside(module: str) -> AsyncIterator[tuple[Client, Child]]:
    """The client, and the process that runs `module` and serves: see `benchmarks.serving` for its arguments."""
    with tempfile.TemporaryDirectory(prefix="aiki-bench-") as name:
        folder = Path(name)
        async with EmbeddedNats(store=folder / "store", port=0) as nats, await Client.connect(nats.url, region=REGION) as client:
            await init(client.transport, region=REGION)
            ready = folder / "ready"
            process = Child(module.rpartition(".")[2], [sys.executable, "-m", module, "--url", nats.url, "--ready", str(ready)], folder)
            try:
                await process.until(ready.exists)
                yield client, process
            finally:
                await process.stop()
