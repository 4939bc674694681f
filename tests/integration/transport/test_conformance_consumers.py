"""What both transports promise about consumers and schedules."""

import asyncio
import json
import math
import time

import pytest

from aiki.transport import ConsumerInfo, ConsumerSpec, Delivery, Message, StreamSpec, Transport
from aiki.types.errors import StreamMissing, TopologyMismatch
from tests.integration.transport.connect import Connect
from tests.integration.transport.inbox import Inbox


async def work_queue(transport: Transport, name: str, **settings: object) -> None:
    await transport.ensure_stream(StreamSpec(name=name, subjects=(f"{name}.>",), retention="workqueue", allow_schedules=True))
    fields = {"stream": name, "durable": "c", "filter": f"{name}.job.>", **settings}
    await transport.ensure_consumer(ConsumerSpec(**fields))  # type: ignore[arg-type]


async def emptied(transport: Transport, name: str) -> None:
    """Acknowledgements have no answer of their own: wait until the queue has seen them."""
    async with asyncio.timeout(5):
        while await transport.subjects(name, ">") or await transport.backlog(name, "c") != (0, 0):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_deliver_and_ack(transport: Transport, name: str) -> None:
    await work_queue(transport, name)
    ack = await transport.publish(f"{name}.job.1", b"x", headers={"K": "v"}, message_id="m")
    assert await transport.backlog(name, "c") == (1, 0)
    got: Inbox[Delivery] = Inbox()
    consumption = await transport.consume(name, "c", got, window=10)
    delivery = await got.next()
    assert (delivery.subject, delivery.data, delivery.sequence, delivery.attempt) == (f"{name}.job.1", b"x", ack.sequence, 1)
    assert dict(delivery.headers) == {"K": "v", "Nats-Msg-Id": "m"}
    assert abs(delivery.timestamp - time.time()) < 60
    assert (consumption.outstanding, delivery.settled) == (1, False)
    assert await transport.backlog(name, "c") == (0, 1)
    delivery.ack()
    delivery.ack()
    delivery.nak()
    assert (consumption.outstanding, delivery.settled) == (0, True)
    await emptied(transport, name)
    await consumption.stop()


async def test_many_messages_come_once_and_in_order(transport: Transport, name: str) -> None:
    await work_queue(transport, name, ack_wait=30)
    got: Inbox[Delivery] = Inbox()

    def settle(delivery: Delivery) -> None:
        delivery.ack()
        got(delivery)

    await transport.consume(name, "c", settle, window=64)
    acks = await asyncio.gather(*(transport.publish(f"{name}.job.{n}", b"%d" % n) for n in range(2000)))
    deliveries = [await got.next() for _ in range(2000)]
    assert [delivery.sequence for delivery in deliveries] == [ack.sequence for ack in acks]
    assert {delivery.attempt for delivery in deliveries} == {1}
    await emptied(transport, name)


async def test_the_window_bounds_what_is_unsettled(transport: Transport, name: str) -> None:
    await work_queue(transport, name, ack_wait=30)
    got: Inbox[Delivery] = Inbox()
    consumption = await transport.consume(name, "c", got, window=3)
    await asyncio.gather(*(transport.publish(f"{name}.job.{n}", b"") for n in range(10)))
    held = [await got.next() for _ in range(3)]
    assert await transport.backlog(name, "c") == (7, 3)
    assert got.empty
    held.pop().ack()
    held.append(await got.next())
    assert consumption.outstanding == 3
    consumption.window = 5
    held += [await got.next(), await got.next()]
    consumption.window = 0
    for delivery in held:
        delivery.ack()
    assert await transport.last(name, f"{name}.job.9") is not None
    assert consumption.outstanding == 0
    assert got.empty
    consumption.window = 10
    for _ in range(4):
        (await got.next()).ack()
    await emptied(transport, name)


async def test_unacknowledged_messages_come_again(transport: Transport, name: str) -> None:
    await work_queue(transport, name, ack_wait=0.3)
    got: Inbox[Delivery] = Inbox()
    await transport.consume(name, "c", got, window=10)
    await transport.publish(f"{name}.job.1", b"")
    first, second = await got.next(), await got.next()
    assert (first.attempt, second.attempt) == (1, 2)
    assert first.sequence == second.sequence
    first.ack()
    await emptied(transport, name)


async def test_in_progress_holds_the_deadline_off(transport: Transport, name: str) -> None:
    await work_queue(transport, name, ack_wait=0.5)
    got: Inbox[Delivery] = Inbox()
    await transport.consume(name, "c", got, window=10)
    await transport.publish(f"{name}.job.1", b"")
    delivery = await got.next()
    for _ in range(8):
        await asyncio.sleep(0.15)  # longer than the deadline in all
        delivery.in_progress()
    assert got.empty
    assert not delivery.settled
    delivery.ack()
    await emptied(transport, name)


async def test_nak_delivers_again_after_the_delay(transport: Transport, name: str) -> None:
    await work_queue(transport, name)
    got: Inbox[Delivery] = Inbox()
    await transport.consume(name, "c", got, window=1)
    await transport.publish(f"{name}.job.1", b"")
    (await got.next()).nak()
    second = await got.next()
    began = time.monotonic()
    second.nak(0.3)
    third = await got.next()
    assert (second.attempt, third.attempt) == (2, 3)
    assert time.monotonic() - began >= 0.29
    third.ack()
    await emptied(transport, name)


async def test_term_removes_the_message_and_says_so(transport: Transport, name: str) -> None:
    await work_queue(transport, name, ack_wait=0.3)
    told: Inbox[Message] = Inbox()
    await transport.subscribe(f"$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.{name}.c", told)
    got: Inbox[Delivery] = Inbox()
    await transport.consume(name, "c", got, window=10)
    ack = await transport.publish(f"{name}.job.1", b"")
    (await got.next()).term("poison")
    facts = json.loads((await told.next()).data)
    assert (facts["stream_seq"], facts["deliveries"], facts["reason"]) == (ack.sequence, 1, "poison")
    await emptied(transport, name)


async def test_used_up_deliveries_leave_the_message_and_say_so(transport: Transport, name: str) -> None:
    await work_queue(transport, name, ack_wait=0.2, max_deliver=2)
    told: Inbox[Message] = Inbox()
    await transport.subscribe(f"$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.{name}.c", told)
    got: Inbox[Delivery] = Inbox()
    await transport.consume(name, "c", got, window=10)
    ack = await transport.publish(f"{name}.job.1", b"")
    facts = json.loads((await told.next()).data)
    assert (facts["stream_seq"], facts["deliveries"]) == (ack.sequence, 2)
    assert await transport.subjects(name, ">") == [f"{name}.job.1"]
    await got.next()
    (await got.next()).ack()
    await emptied(transport, name)


async def test_max_ack_pending_holds_for_all_connections_together(connect: Connect, name: str) -> None:
    one, other = await connect(), await connect()
    await work_queue(one, name, ack_wait=30, max_ack_pending=3)
    got: Inbox[Delivery] = Inbox()
    await one.consume(name, "c", got, window=10)
    await other.consume(name, "c", got, window=10)
    await asyncio.gather(*(one.publish(f"{name}.job.{n}", b"") for n in range(10)))
    held = [await got.next() for _ in range(3)]
    assert await one.backlog(name, "c") == (7, 3)
    assert got.empty
    for _ in range(7):
        held.pop(0).ack()
        held.append(await got.next())
    for delivery in held:
        delivery.ack()
    await emptied(one, name)


async def test_a_stopped_consumption_leaves_the_rest_to_others(connect: Connect, name: str) -> None:
    one, other = await connect(), await connect()
    await work_queue(one, name, ack_wait=30)
    first: Inbox[Delivery] = Inbox()
    second: Inbox[Delivery] = Inbox()
    consumption = await one.consume(name, "c", first, window=2)
    await asyncio.gather(*(one.publish(f"{name}.job.{n}", b"") for n in range(6)))
    held = [await first.next(), await first.next()]
    await consumption.stop()
    await other.consume(name, "c", second, window=10)
    for _ in range(4):
        (await second.next()).ack()
    assert first.empty
    for delivery in held:
        delivery.ack()
    await emptied(one, name)


async def test_a_handler_that_raises_gets_the_message_again(transport: Transport, name: str) -> None:
    await work_queue(transport, name, ack_wait=30)
    got: Inbox[Delivery] = Inbox()

    def handle(delivery: Delivery) -> None:
        if delivery.attempt == 1:
            raise ValueError("a bug")
        got(delivery)

    consumption = await transport.consume(name, "c", handle, window=1)
    await transport.publish(f"{name}.job.1", b"")
    delivery = await got.next()
    assert (delivery.attempt, consumption.outstanding) == (2, 1)
    delivery.ack()
    await emptied(transport, name)


async def test_purged_messages_are_not_delivered(transport: Transport, name: str) -> None:
    await work_queue(transport, name)
    await transport.publish(f"{name}.job.1", b"")
    await transport.publish(f"{name}.job.2", b"")
    await transport.purge(name, f"{name}.job.1")
    got: Inbox[Delivery] = Inbox()
    await transport.consume(name, "c", got, window=10)
    delivery = await got.next()
    assert delivery.subject == f"{name}.job.2"
    delivery.ack()
    await emptied(transport, name)


async def test_ensure_consumer(transport: Transport, name: str) -> None:
    await work_queue(transport, name)
    spec = ConsumerSpec(stream=name, durable="c", filter=f"{name}.job.>")
    assert await transport.ensure_consumer(spec) == "unchanged"
    changed = ConsumerSpec(stream=name, durable="c", filter=f"{name}.job.>", ack_wait=9, max_ack_pending=5, max_deliver=7)
    assert await transport.ensure_consumer(changed) == "updated"
    assert await transport.ensure_consumer(changed) == "unchanged"
    with pytest.raises(TopologyMismatch):
        await transport.ensure_consumer(ConsumerSpec(stream=name, durable="d", filter=f"{name}.job.x"))
    assert await transport.ensure_consumer(ConsumerSpec(stream=name, durable="d", filter=f"{name}.other")) == "created"
    with pytest.raises(StreamMissing):
        await transport.consume(name, "nobody", print, window=1)


async def test_schedules_are_never_early(transport: Transport, name: str) -> None:
    await work_queue(transport, name)
    got: Inbox[Delivery] = Inbox()
    await transport.consume(name, "c", got, window=10)
    at = time.time() + 0.3
    await transport.schedule(f"{name}.timer.1", at, f"{name}.job.1", b"late", headers={"K": "v"}, message_id="m")
    delivery = await got.next()
    assert time.time() >= at
    assert (delivery.subject, delivery.data, delivery.timestamp >= at) == (f"{name}.job.1", b"late", True)
    assert dict(delivery.headers) == {"K": "v", "Nats-Scheduler": f"{name}.timer.1", "Nats-Schedule-Next": "purge"}
    delivery.ack()
    await emptied(transport, name)


async def test_schedules_in_the_past_fire_at_once(transport: Transport, name: str) -> None:
    await work_queue(transport, name)
    got: Inbox[Delivery] = Inbox()
    await transport.consume(name, "c", got, window=10)
    await transport.schedule(f"{name}.timer.1", time.time() - 1000, f"{name}.job.1", b"")
    (await got.next()).ack()
    await emptied(transport, name)


async def test_schedules_are_moved_and_cancelled(transport: Transport, name: str) -> None:
    await work_queue(transport, name)
    got: Inbox[Delivery] = Inbox()
    await transport.consume(name, "c", got, window=10)
    now = time.time()
    await transport.schedule(f"{name}.timer.1", now + 1000, f"{name}.job.1", b"1")
    await transport.schedule(f"{name}.timer.2", now + 0.2, f"{name}.job.2", b"2")
    await transport.schedule(f"{name}.timer.3", now + 1000, f"{name}.job.3", b"3")
    await transport.cancel_schedule(name, f"{name}.timer.2")
    await transport.cancel_schedule(name, f"{name}.timer.4")
    await transport.schedule(f"{name}.timer.3", now + 0.4, f"{name}.job.3", b"new")
    delivery = await got.next()
    assert (delivery.subject, delivery.data) == (f"{name}.job.3", b"new")
    delivery.ack()
    assert await transport.subjects(name, ">") in ([f"{name}.timer.1"], [f"{name}.job.3", f"{name}.timer.1"])
    await transport.cancel_schedule(name, f"{name}.timer.1")
    await emptied(transport, name)


async def test_a_message_id_also_holds_for_schedules(transport: Transport, name: str) -> None:
    await work_queue(transport, name)
    first = await transport.schedule(f"{name}.timer.1", time.time() + 1000, f"{name}.job.1", b"", message_id="x")
    again = await transport.schedule(f"{name}.timer.1", time.time() + 1000, f"{name}.job.1", b"", message_id="x")
    assert again == (first.sequence, True)
    assert await transport.purge(name, f"{name}.timer.1") == 1


async def test_a_paused_consumer_hands_out_nothing(transport: Transport, name: str) -> None:
    await work_queue(transport, name)
    got: Inbox[Delivery] = Inbox()
    await transport.consume(name, "c", got, window=10)
    await transport.publish(f"{name}.job.1", b"1")
    held = await got.next()
    await transport.pause_consumer(name, "c", math.inf)
    await transport.publish(f"{name}.job.2", b"2")
    (info,) = await transport.consumers(name)
    assert info == ConsumerInfo("c", f"{name}.job.>", 1, 1, math.inf)
    held.ack()
    async with asyncio.timeout(5):
        while (await transport.consumers(name))[0].unsettled:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert got.empty
    await transport.ensure_consumer(ConsumerSpec(stream=name, durable="c", filter=f"{name}.job.>", ack_wait=5))
    assert (await transport.consumers(name))[0].paused_until == math.inf
    await transport.pause_consumer(name, "c", None)
    assert (await got.next()).data == b"2"
    assert (await transport.consumers(name))[0].paused_until is None


async def test_a_pause_until_an_instant_ends_by_itself(transport: Transport, name: str) -> None:
    await work_queue(transport, name)
    got: Inbox[Delivery] = Inbox()
    await transport.consume(name, "c", got, window=10)
    until = time.time() + 0.5
    await transport.pause_consumer(name, "c", until)
    paused_until = (await transport.consumers(name))[0].paused_until
    assert paused_until is not None
    assert abs(paused_until - until) < 0.001
    await transport.publish(f"{name}.job.1", b"1")
    await got.next()
    assert time.time() >= until - 0.05
    await transport.pause_consumer(name, "c", time.time() - 10)
    await transport.publish(f"{name}.job.2", b"2")
    await got.next()


async def test_a_consumer_that_is_not_there_cannot_be_paused(transport: Transport, name: str) -> None:
    with pytest.raises(StreamMissing):
        await transport.consumers(name)
    with pytest.raises(StreamMissing):
        await transport.pause_consumer(name, "c", math.inf)
    await work_queue(transport, name)
    with pytest.raises(StreamMissing):
        await transport.pause_consumer(name, "d", math.inf)
