"""The same tests on both transports."""

import itertools
from collections.abc import AsyncIterator

import pytest

from aiki.clock import SystemClock
from aiki.transport import EmbeddedNats, JetStreamTransport, MemoryServer, Transport
from tests.integration.transport.connect import Connect

numbers = itertools.count(1)


@pytest.fixture(params=["memory", "jetstream"])
async def connect(request: pytest.FixtureRequest, nats: EmbeddedNats) -> AsyncIterator[Connect]:
    """Makes connections to one server, and closes them at the end."""
    made: list[Transport] = []
    memory = MemoryServer(SystemClock())

    async def connect() -> Transport:
        if request.param == "memory":
            transport: Transport = memory.connect()
        else:
            transport = await JetStreamTransport.connect(nats.url)
        made.append(transport)
        return transport

    yield connect
    for transport in made:
        await transport.close()


@pytest.fixture
async def transport(connect: Connect) -> Transport:
    return await connect()


@pytest.fixture
def name() -> str:
    """A name that no other test uses, for streams and subjects."""
    return f"t{next(numbers)}"
