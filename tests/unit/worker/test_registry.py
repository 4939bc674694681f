"""What a worker serves is fixed when it starts."""

import pytest

from aiki.actors import init
from aiki.clock import VirtualClock, run_virtual
from aiki.sdk import Client, DefinitionError, Worker, task
from aiki.transport import MemoryServer


@task(name="first")
async def first() -> None: ...


@task(name="second")
async def second() -> None: ...


def test_what_is_added_after_the_start_is_refused() -> None:
    async def main(clock: VirtualClock) -> None:
        transport = MemoryServer(clock).connect()
        await init(transport)
        worker = Worker(Client(transport, clock=clock), clock=clock)
        worker.registry.add(first)
        async with worker:
            with pytest.raises(DefinitionError, match="too late"):
                worker.registry.add(second)

    run_virtual(main)
