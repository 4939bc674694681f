"""What both transports promise about streams."""

import asyncio
import time

import pytest

from aiki.transport import ConsumerSpec, Message, StreamSpec, Transport
from aiki.types.errors import Conflict, NotConnected, PayloadTooLarge, StreamMissing, TopologyMismatch, TransportError
from tests.integration.transport.connect import Connect
from tests.integration.transport.inbox import Inbox


def bucket(name: str, **settings: object) -> StreamSpec:
    """A stream shaped like a KV bucket."""
    fields = {"name": f"KV_{name}", "subjects": (f"$KV.{name}.>",), "history": 1, "allow_direct": True, **settings}
    return StreamSpec(**fields)  # type: ignore[arg-type]


async def test_a_write_is_stored_and_numbered(transport: Transport, name: str) -> None:
    await transport.ensure_stream(bucket(name))
    first = await transport.publish(f"$KV.{name}.a", b"one", headers={"Colour": "grün"})
    second = await transport.publish(f"$KV.{name}.b", b"two")
    assert (first.duplicate, second.sequence) == (False, first.sequence + 1)
    stored = await transport.last(f"KV_{name}", f"$KV.{name}.a")
    assert stored is not None
    assert (stored.subject, stored.data, stored.sequence) == (f"$KV.{name}.a", b"one", first.sequence)
    assert stored.headers["Colour"] == "grün"
    assert abs(stored.timestamp - time.time()) < 60
    assert (transport.published, transport.published_bytes) == (2, 6)


async def test_history_keeps_the_newest(transport: Transport, name: str) -> None:
    await transport.ensure_stream(bucket(name, history=2))
    for value in (b"1", b"2", b"3"):
        await transport.publish(f"$KV.{name}.a", value)
    assert await transport.purge(f"KV_{name}", f"$KV.{name}.a") == 2
    assert await transport.last(f"KV_{name}", f"$KV.{name}.a") is None


@pytest.mark.parametrize("direct", [True, False])
async def test_last_reads_your_writes(transport: Transport, name: str, direct: bool) -> None:
    await transport.ensure_stream(bucket(name, allow_direct=direct))
    assert await transport.last(f"KV_{name}", f"$KV.{name}.a") is None
    for number in range(5):
        ack = await transport.publish(f"$KV.{name}.a", b"%d" % number, headers={"N": str(number)})
        stored = await transport.last(f"KV_{name}", f"$KV.{name}.a")
        assert stored is not None
        assert (stored.data, stored.sequence, dict(stored.headers)) == (b"%d" % number, ack.sequence, {"N": str(number)})


async def test_markers_of_deletion_count_as_nothing(transport: Transport, name: str) -> None:
    await transport.ensure_stream(bucket(name, allow_rollup=True))
    await transport.publish(f"$KV.{name}.a", b"1")
    deleted = await transport.publish(f"$KV.{name}.a", b"", headers={"KV-Operation": "DEL"})
    assert await transport.last(f"KV_{name}", f"$KV.{name}.a") is None
    with pytest.raises(Conflict):
        await transport.publish(f"$KV.{name}.a", b"2", expect=0)
    await transport.publish(f"$KV.{name}.a", b"", headers={"KV-Operation": "PURGE", "Nats-Rollup": "sub"}, expect=deleted.sequence)
    assert await transport.last(f"KV_{name}", f"$KV.{name}.a") is None


async def test_compare_and_set(transport: Transport, name: str) -> None:
    await transport.ensure_stream(bucket(name))
    subject = f"$KV.{name}.a"
    first = await transport.publish(subject, b"1", expect=0)
    with pytest.raises(Conflict) as caught:
        await transport.publish(subject, b"2", expect=0)
    assert caught.value.subject == subject
    second = await transport.publish(subject, b"2", expect=first.sequence)
    with pytest.raises(Conflict):
        await transport.publish(subject, b"3", expect=first.sequence)
    await transport.publish(subject, b"3", expect=second.sequence)
    with pytest.raises(Conflict):
        await transport.publish(f"$KV.{name}.other", b"", expect=second.sequence)


async def test_pipelined_writes_keep_their_order_and_only_one_wins(transport: Transport, name: str) -> None:
    await transport.ensure_stream(bucket(name))
    acks = [transport.publish(f"$KV.{name}.{number}", b"") for number in range(200)]
    sequences = [ack.sequence for ack in await asyncio.gather(*acks)]
    assert sequences == list(range(sequences[0], sequences[0] + 200))
    outcomes = await asyncio.gather(*(transport.publish(f"$KV.{name}.x", b"", expect=0) for _ in range(50)), return_exceptions=True)
    assert [isinstance(outcome, Conflict) for outcome in outcomes] == [False, *[True] * 49]


async def test_the_same_message_id_stores_once(transport: Transport, name: str) -> None:
    await transport.ensure_stream(StreamSpec(name=name, subjects=(f"{name}.>",), dedupe_window=1))
    first = await transport.publish(f"{name}.a", b"1", message_id="x")
    again = await transport.publish(f"{name}.b", b"2", message_id="x")
    assert again == (first.sequence, True)
    assert await transport.subjects(name, f"{name}.>") == [f"{name}.a"]
    assert transport.published == 1
    await asyncio.sleep(1.2)  # the window itself is what is tested
    assert not (await transport.publish(f"{name}.b", b"2", message_id="x")).duplicate


async def test_a_stale_expectation_beats_a_known_message_id(transport: Transport, name: str) -> None:
    await transport.ensure_stream(bucket(name))
    first = await transport.publish(f"$KV.{name}.a", b"1", expect=0, message_id="x")
    with pytest.raises(Conflict):
        await transport.publish(f"$KV.{name}.a", b"1", expect=0, message_id="x")
    assert (await transport.publish(f"$KV.{name}.a", b"1", expect=first.sequence, message_id="x")).duplicate


async def test_messages_with_a_ttl_go_and_leave_a_marker(connect: Connect, transport: Transport, name: str) -> None:
    await transport.ensure_stream(bucket(name, allow_ttl=True, marker_ttl=10, republish=(f"$KV.{name}.>", f"{name}.live.>", False)))
    seen: Inbox[Message] = Inbox()
    await transport.subscribe(f"{name}.live.>", seen)
    await transport.publish(f"$KV.{name}.a", b"1", ttl=1)
    assert (await seen.next()).data == b"1"
    marker = await seen.next()
    assert (marker.data, marker.headers["Nats-Marker-Reason"]) == (b"", "MaxAge")
    assert await transport.last(f"KV_{name}", f"$KV.{name}.a") is None


async def test_what_a_stream_does_not_allow_is_refused(transport: Transport, name: str) -> None:
    await transport.ensure_stream(StreamSpec(name=name, subjects=(f"{name}.>",)))
    for write in (
        transport.publish(f"{name}.a", b"", ttl=5),
        transport.publish(f"{name}.a", b"", headers={"Nats-Rollup": "sub"}),
        transport.schedule(f"{name}.a", time.time(), f"{name}.b", b""),
        transport.publish(f"{name} a", b""),
        transport.publish("", b""),
        transport.publish(f"{name}.*", b""),
        transport.publish(f"{name}.a", b"", headers={"Evil": "a\r\nNats-TTL: 1s"}),
        transport.publish(f"{name}.a", b"", message_id="a\r\nb"),
    ):
        with pytest.raises(TransportError):
            await write
    assert await transport.subjects(name, ">") == []


async def test_no_stream(transport: Transport, name: str) -> None:
    with pytest.raises(StreamMissing, match="aiki init"):
        await transport.publish(f"{name}.nowhere", b"")
    for call in (
        transport.last(name, "a"),
        transport.subjects(name, ">"),
        transport.purge(name, ">"),
        transport.backlog(name, "c"),
        transport.consume(name, "c", print, window=1),
        transport.ensure_consumer(ConsumerSpec(stream=name, durable="c", filter="a")),
    ):
        with pytest.raises(StreamMissing):
            await call
    assert await transport.stream(name) is None


async def test_a_payload_above_the_limit_is_not_sent(transport: Transport, name: str) -> None:
    await transport.ensure_stream(bucket(name))
    limit = transport.server().max_payload
    await transport.publish(f"$KV.{name}.a", bytes(limit))
    with pytest.raises(PayloadTooLarge) as caught:
        await transport.publish(f"$KV.{name}.a", bytes(limit), expect=0)
    assert (caught.value.where, caught.value.limit) == (f"$KV.{name}.a", limit)
    assert caught.value.size > limit
    stored = await transport.last(f"KV_{name}", f"$KV.{name}.a")
    assert stored is not None
    assert len(stored.data) == limit


async def test_subjects_and_purge_follow_patterns(transport: Transport, name: str) -> None:
    await transport.ensure_stream(StreamSpec(name=name, subjects=(f"{name}.>",)))
    for tail in ("b.1", "a.1", "a.2", "c.1.x"):
        await transport.publish(f"{name}.{tail}", b"")
    assert await transport.subjects(name, f"{name}.>") == [f"{name}.{tail}" for tail in ("a.1", "a.2", "b.1", "c.1.x")]
    assert await transport.subjects(name, f"{name}.*.1") == [f"{name}.a.1", f"{name}.b.1"]
    assert await transport.purge(name, f"{name}.a.*") == 2
    assert await transport.purge(name, f"{name}.a.*") == 0
    assert await transport.subjects(name, f"{name}.>") == [f"{name}.b.1", f"{name}.c.1.x"]


@pytest.mark.parametrize("headers_only", [True, False])
async def test_commits_are_republished(transport: Transport, name: str, headers_only: bool) -> None:
    await transport.ensure_stream(bucket(name, republish=(f"$KV.{name}.>", f"{name}.live.>", headers_only)))
    seen: Inbox[Message] = Inbox()
    subscription = await transport.subscribe(f"{name}.live.a.b", seen)
    first = await transport.publish(f"$KV.{name}.a.b", b"12", headers={"K": "v"})
    second = await transport.publish(f"$KV.{name}.a.b", b"3")
    one, two = await seen.next(), await seen.next()
    assert one.subject == f"{name}.live.a.b"
    assert one.data == (b"" if headers_only else b"12")
    assert one.headers["K"] == "v"
    assert (one.headers["Nats-Sequence"], one.headers["Nats-Last-Sequence"]) == (str(first.sequence), "0")
    assert (one.headers["Nats-Stream"], one.headers["Nats-Subject"]) == (f"KV_{name}", f"$KV.{name}.a.b")
    assert one.headers.get("Nats-Msg-Size") == ("2" if headers_only else None)
    assert (two.headers["Nats-Sequence"], two.headers["Nats-Last-Sequence"]) == (str(second.sequence), str(first.sequence))
    await subscription.stop()


async def test_ensure_stream(transport: Transport, name: str) -> None:
    spec = StreamSpec(
        name=name, subjects=(f"{name}.a", f"{name}.b"), retention="workqueue", allow_schedules=True, allow_ttl=True, marker_ttl=5
    )
    assert await transport.ensure_stream(spec) == "created"
    assert await transport.ensure_stream(spec) == "unchanged"
    found = await transport.stream(name)
    assert found is not None
    assert found.allow_rollup, "schedules bring roll-ups with them"
    assert await transport.ensure_stream(found) == "unchanged"

    other = StreamSpec(name=name, subjects=(f"{name}.a",), retention="workqueue", allow_schedules=True, allow_ttl=True, dedupe_window=60)
    with pytest.raises(TopologyMismatch) as caught:
        await transport.ensure_stream(other)
    assert caught.value.name == name
    assert "subjects" in caught.value.differences
    assert await transport.ensure_stream(other, update=True) == "updated"
    assert await transport.ensure_stream(other) == "unchanged"
    with pytest.raises(TopologyMismatch):
        await transport.ensure_stream(StreamSpec(name=name, subjects=(f"{name}.a",), storage="memory"), update=True)
    with pytest.raises(TransportError):
        await transport.ensure_stream(StreamSpec(name=f"{name}x", subjects=(f"{name}.>",)))
    with pytest.raises(TransportError):
        await transport.ensure_stream(StreamSpec(name=f"{name}y", subjects=(f"{name}y",), discard="new", allow_schedules=True))


async def test_republish_and_placement_can_be_dropped(transport: Transport, name: str) -> None:
    spec = bucket(name, republish=(f"$KV.{name}.>", f"{name}.live.>", False))
    await transport.ensure_stream(spec)
    with pytest.raises(TopologyMismatch):
        await transport.ensure_stream(bucket(name))
    assert await transport.ensure_stream(bucket(name), update=True) == "updated"
    assert await transport.ensure_stream(bucket(name)) == "unchanged"


async def test_a_closed_connection_refuses(connect: Connect, transport: Transport, name: str) -> None:
    await transport.ensure_stream(bucket(name))
    await transport.close()
    await transport.close()
    with pytest.raises(NotConnected):
        await transport.publish(f"$KV.{name}.a", b"")
    with pytest.raises(NotConnected):
        await transport.request("a", b"")
    with pytest.raises(NotConnected):
        transport.send("a", b"")
    with pytest.raises(NotConnected):
        await transport.last(f"KV_{name}", f"$KV.{name}.a")
    with pytest.raises(NotConnected):
        await transport.subscribe("a", print)


async def test_closing_flushes_first(connect: Connect, transport: Transport, name: str) -> None:
    await transport.ensure_stream(bucket(name))
    acks = [transport.publish(f"$KV.{name}.{number}", b"") for number in range(100)]
    await transport.close()
    assert all(ack.done() for ack in acks)
    await asyncio.gather(*acks, return_exceptions=True)
    other = await connect()
    assert len(await other.subjects(f"KV_{name}", ">")) == 100
