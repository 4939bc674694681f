"""A region of its own for each test."""

from collections.abc import AsyncIterator

import pytest

from aiki.transport import EmbeddedNats
from tests.integration.engine.place import Place


@pytest.fixture
async def place(nats: EmbeddedNats) -> AsyncIterator[Place]:
    made = Place(nats)
    await made.open()
    yield made
    await made.close()
