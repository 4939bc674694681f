"""What happens to a connection when its server goes and comes back."""

import asyncio
import json
import logging
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from aiki.transport import ConsumerSpec, Delivery, EmbeddedNats, JetStreamTransport, Message, StreamSpec
from aiki.transport.embedded import find_binary
from aiki.types.errors import JetStreamDisabled, NotConnected, OutcomeUnknown, RequestTimeout, ServerTooOld
from tests.integration.transport.inbox import Inbox

KV = StreamSpec(name="KV_B", subjects=("$KV.B.>",), history=1, allow_direct=True)
WORK = StreamSpec(name="WORK", subjects=("work.>",), retention="workqueue", allow_schedules=True)
CONSUMER = ConsumerSpec(stream="WORK", durable="c", filter="work.job.>", ack_wait=30)


@pytest.fixture
async def server() -> AsyncIterator[EmbeddedNats]:
    async with EmbeddedNats() as nats:
        yield nats


@pytest.fixture
async def transport(server: EmbeddedNats) -> AsyncIterator[JetStreamTransport]:
    transport = await JetStreamTransport.connect(server.url)
    await transport.ensure_stream(KV)
    await transport.ensure_stream(WORK)
    await transport.ensure_consumer(CONSUMER)
    yield transport
    await transport.close()


def reconnected(transport: JetStreamTransport) -> asyncio.Event:
    event = asyncio.Event()
    transport.on_reconnect(event.set)
    return event


async def test_pulls_subscriptions_and_writes_live_on(server: EmbeddedNats, transport: JetStreamTransport) -> None:
    back = reconnected(transport)
    deliveries: Inbox[Delivery] = Inbox()
    messages: Inbox[Message] = Inbox()
    consumption = await transport.consume("WORK", "c", deliveries, window=10)
    await transport.subscribe("hello", messages)
    await transport.publish("work.job.1", b"")
    (await deliveries.next()).ack()
    for turn in range(2):
        back.clear()
        await server.kill()
        await server.restart()
        await asyncio.wait_for(back.wait(), 5)
        began = time.monotonic()
        transport.send("hello", b"")
        await messages.next()
        await transport.publish(f"work.job.again{turn}", b"")
        # A killed server may have forgotten acks and deliver older jobs again.
        subject = ""
        while subject != f"work.job.again{turn}":
            delivery = await deliveries.next()
            delivery.ack()
            subject = delivery.subject
        assert time.monotonic() - began < 2
    assert consumption.outstanding == 0


async def test_an_ack_made_while_away_still_counts(server: EmbeddedNats, transport: JetStreamTransport) -> None:
    back = reconnected(transport)
    deliveries: Inbox[Delivery] = Inbox()
    await transport.consume("WORK", "c", deliveries, window=10)
    await transport.publish("work.job.1", b"")
    held = await deliveries.next()
    restart = asyncio.create_task(server.restart())
    await lost(transport)
    held.ack()
    await restart
    await asyncio.wait_for(back.wait(), 5)
    async with asyncio.timeout(5):
        while await transport.backlog("WORK", "c") != (0, 0):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert deliveries.empty


async def lost(transport: JetStreamTransport) -> None:
    """Wait until the connection knows that its server is gone."""
    async with asyncio.timeout(5):
        while transport._connection.live:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_writes_in_flight_end_at_once(server: EmbeddedNats, transport: JetStreamTransport) -> None:
    """Neither the acks nor the answers of the lost server are waited for."""
    await transport.subscribe("mute", lambda message: None)
    request = transport.request("mute", b"", timeout=30)
    await transport.publish("$KV.B.a", b"")
    stopped = asyncio.create_task(server.kill())
    outcomes: list[BaseException | object] = []
    began = time.monotonic()
    while transport._connection.live:
        write = transport.publish("$KV.B.a", b"", timeout=30)
        await asyncio.wait({write})
        outcomes.append(write.exception())
    await stopped
    assert time.monotonic() - began < 5
    assert isinstance(outcomes[-1], OutcomeUnknown)
    with pytest.raises(RequestTimeout, match="connection was lost"):
        await request


async def test_writes_made_while_away_wait_for_the_reconnect_in_order(server: EmbeddedNats, transport: JetStreamTransport) -> None:
    await server.kill()
    await lost(transport)
    writes = [transport.publish("$KV.B.a", b"%d" % number) for number in range(100)]
    reading = asyncio.create_task(transport.subjects("KV_B", ">"))
    transport.send("dropped", b"")
    await server.restart()
    sequences = [ack.sequence for ack in await asyncio.gather(*writes)]
    assert sequences == sorted(sequences)
    assert await reading in ([], ["$KV.B.a"])  # a read is not ordered with writes that have no answer yet
    stored = await transport.last("KV_B", "$KV.B.a")
    assert stored is not None
    assert stored.data == b"99"


async def test_writes_give_up_when_nats_stays_away(server: EmbeddedNats, transport: JetStreamTransport) -> None:
    await server.kill()
    await lost(transport)
    write = transport.publish("$KV.B.a", b"never", timeout=0.2)
    with pytest.raises(NotConnected, match="nothing was written"):
        await write
    with pytest.raises(RequestTimeout):
        await transport.request("a", b"", timeout=0.2)
    back = reconnected(transport)
    await server.restart()
    await asyncio.wait_for(back.wait(), 5)
    assert await transport.last("KV_B", "$KV.B.a") is None


async def test_the_buffer_is_bounded(server: EmbeddedNats, transport: JetStreamTransport) -> None:
    await server.kill()
    await lost(transport)
    writes = [transport.publish("$KV.B.a", bytes(1_000_000), timeout=0.3) for _ in range(40)]
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    assert all(isinstance(outcome, NotConnected) for outcome in outcomes)
    assert ["buffer full" in str(outcome) for outcome in outcomes] == [False] * 33 + [True] * 7


async def test_closing_while_away_ends_what_is_open(server: EmbeddedNats, transport: JetStreamTransport) -> None:
    await server.kill()
    await lost(transport)
    write = transport.publish("$KV.B.a", b"")
    await asyncio.wait_for(transport.close(), 3)
    with pytest.raises((OutcomeUnknown, NotConnected)):
        await write


async def test_a_stopped_subscription_stays_stopped(server: EmbeddedNats, transport: JetStreamTransport) -> None:
    back = reconnected(transport)
    stopped: Inbox[Message] = Inbox()
    kept: Inbox[Message] = Inbox()
    subscription = await transport.subscribe("hello", stopped)
    await transport.subscribe("hello", kept)
    await server.kill()
    await lost(transport)
    await subscription.stop()
    late: Inbox[Message] = Inbox()
    await transport.subscribe("hello", late)
    await server.restart()
    await asyncio.wait_for(back.wait(), 5)
    transport.send("hello", b"")
    await kept.next()
    await late.next()
    assert stopped.empty


async def test_losses_and_returns_are_logged(server: EmbeddedNats, transport: JetStreamTransport, caplog: pytest.LogCaptureFixture) -> None:
    back = reconnected(transport)
    with caplog.at_level(logging.INFO):
        await server.kill()
        await server.restart()
        await asyncio.wait_for(back.wait(), 5)
    said = [(record.name, record.levelname) for record in caplog.records if record.name != "asyncio"]
    assert said == [("aiki.transport", "WARNING"), ("aiki.transport", "INFO")]


async def test_nothing_listens() -> None:
    began = time.monotonic()
    with pytest.raises(NotConnected) as caught:
        await JetStreamTransport.connect("nats://user:secret@127.0.0.1:1", timeout=0.5)
    assert time.monotonic() - began < 2
    assert "secret" not in str(caught.value)
    assert caught.value.url == "nats://127.0.0.1:1"


async def test_wrong_credentials_are_refused_at_once() -> None:
    async with EmbeddedNats(arguments=("--user", "u", "--pass", "p")) as server:
        began = time.monotonic()
        with pytest.raises(NotConnected, match=r"(?i)authorization"):
            await JetStreamTransport.connect(server.url.replace("//", "//u:wrong@"), timeout=5)
        assert time.monotonic() - began < 3
        transport = await JetStreamTransport.connect(server.url.replace("//", "//u:p@"), timeout=5)
        await transport.close()


async def test_a_server_without_jetstream_is_refused(tmp_path: Path) -> None:
    command = [str(find_binary()), "-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", str(tmp_path)]
    plain = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    try:
        async with asyncio.timeout(5):
            while not (files := [file for file in tmp_path.iterdir() if file.read_text().endswith("}")]):  # noqa: ASYNC240, ASYNC110
                await asyncio.sleep(0.01)
        url = json.loads(files[0].read_text())["nats"][0]
        with pytest.raises(JetStreamDisabled, match="-js"):
            await JetStreamTransport.connect(url)
    finally:
        plain.terminate()
        await plain.wait()


async def test_an_old_server_is_refused(server: EmbeddedNats, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiki.transport.jetstream.REQUIRED_VERSION", (99, 0, 0))
    with pytest.raises(ServerTooOld) as caught:
        await JetStreamTransport.connect(server.url)
    assert caught.value.required == "99.0.0"


async def test_a_consumer_that_was_deleted_is_pulled_from_again_once_it_is_back(transport: JetStreamTransport) -> None:
    deliveries: Inbox[Delivery] = Inbox()
    await transport.consume("WORK", "c", deliveries, window=10)
    await transport.publish("work.job.0", b"")
    (await deliveries.next()).ack()
    assert b'"success":true' in (await transport.request("$JS.API.CONSUMER.DELETE.WORK.c", b"")).data
    await transport.publish("work.job.1", b"")
    assert await transport.ensure_consumer(CONSUMER) == "created"
    (await deliveries.next()).ack()


async def test_a_frozen_server_costs_no_more_than_the_time_out(server: EmbeddedNats, transport: JetStreamTransport) -> None:
    deliveries: Inbox[Delivery] = Inbox()
    await transport.consume("WORK", "c", deliveries, window=10)
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    try:
        write = transport.publish("work.job.1", b"", timeout=0.3)
        with pytest.raises(OutcomeUnknown):
            await write
        with pytest.raises(RequestTimeout):
            await transport.request("work.job.2", b"", timeout=0.3)
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert {(await deliveries.next()).subject for _ in range(2)} == {"work.job.1", "work.job.2"}
