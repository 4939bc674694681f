"""What both transports promise about the server's clock, and about who waits for messages."""

import asyncio
import time

import pytest

from aiki.transport import ConsumerSpec, StreamSpec, Transport
from aiki.types.errors import StreamMissing


async def test_the_servers_time(transport: Transport, name: str) -> None:
    await transport.ensure_stream(StreamSpec(name=name, subjects=(f"{name}.>",)))
    before = time.time()
    instant = await transport.server_time(name)
    assert before - 0.01 <= instant <= time.time() + 0.01
    with pytest.raises(StreamMissing):
        await transport.server_time(f"{name}-none")


async def test_who_waits_for_messages(transport: Transport, name: str) -> None:
    await transport.ensure_stream(StreamSpec(name=name, subjects=(f"{name}.>",), retention="workqueue"))
    assert await transport.pullers(name, "c") == 0, "a consumer that does not exist"
    await transport.ensure_consumer(ConsumerSpec(stream=name, durable="c", filter=f"{name}.>"))
    assert await transport.pullers(name, "c") == 0
    consumption = await transport.consume(name, "c", lambda delivery: delivery.ack(), window=10)
    await become(transport, name, 1)
    await consumption.stop()
    await become(transport, name, 0)


async def become(transport: Transport, name: str, pullers: int) -> None:
    """Pulls have no answer of their own: wait until the server has seen them."""
    async with asyncio.timeout(5):
        while await transport.pullers(name, "c") != pullers:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
