"""One NATS server for all integration tests."""

from collections.abc import AsyncIterator

import pytest_asyncio

from aiki.transport import EmbeddedNats


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def nats() -> AsyncIterator[EmbeddedNats]:
    async with EmbeddedNats() as server:
        yield server
