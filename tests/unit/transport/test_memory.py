"""The in-memory twin under virtual time: faults, cuts and crashes."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from aiki.clock import VirtualClock, run_virtual
from aiki.transport import ConsumerSpec, Delivery, Faults, MemoryServer, MemoryTransport, Message, StreamSpec
from aiki.types.errors import Conflict, NoResponders, NotConnected, OutcomeUnknown, RequestTimeout

KV = StreamSpec(name="KV_B", subjects=("$KV.B.>",), history=1)
WORK = StreamSpec(name="WORK", subjects=("work.>",), retention="workqueue", allow_schedules=True)
CONSUMER = ConsumerSpec(stream="WORK", durable="c", filter="work.job.>", ack_wait=3)


async def prepared(server: MemoryServer) -> MemoryTransport:
    transport = server.connect()
    await transport.ensure_stream(KV)
    await transport.ensure_stream(WORK)
    await transport.ensure_consumer(CONSUMER)
    return transport


async def chaos(clock: VirtualClock, seed: int) -> list[object]:
    """Writers and workers under every fault; answers what happened, in order."""
    told: list[object] = []
    server = MemoryServer(clock, seed=seed)
    calm = await prepared(server)
    server.faults = Faults(lose=0.1, double=0.1, delay=(0.0, 0.2), reorder=0.3, unknown=0.2)
    done: set[int] = set()

    def work(delivery: Delivery) -> None:
        told.append((delivery.sequence, delivery.attempt, round(clock.now(), 6)))
        done.add(delivery.sequence)
        delivery.ack()

    async def write(transport: MemoryTransport, number: int) -> None:
        while True:
            try:
                await transport.publish(f"work.job.{number}", b"", message_id=str(number))
                return
            except OutcomeUnknown as error:
                told.append(error.code)

    workers = [server.connect(f"worker {number}") for number in range(3)]
    for worker in workers:
        await worker.consume("WORK", "c", work, window=2)
    await asyncio.gather(*(write(server.connect(), number) for number in range(30)))
    workers[0].crash()
    workers[1].disconnect()
    await asyncio.sleep(1)
    workers[1].reconnect()
    server.faults = None
    while await calm.backlog("WORK", "c") != (0, 0):  # noqa: ASYNC110
        await asyncio.sleep(1)
    assert len(done) == 30
    assert await calm.subjects("WORK", ">") == []
    return told


def test_nothing_acknowledged_is_lost_and_a_seed_decides_everything() -> None:
    def play(seed: int) -> list[object]:
        return run_virtual(lambda clock: chaos(clock, seed))

    for seed in range(20):
        assert play(seed) == play(seed)
    assert play(1) != play(2)


def test_an_unknown_outcome_may_be_either() -> None:
    async def main(clock: VirtualClock) -> None:
        server = MemoryServer(clock, seed=1)
        transport = await prepared(server)
        server.faults = Faults(unknown=1.0)
        began = clock.now()
        for number in range(40):
            with pytest.raises(OutcomeUnknown):
                await transport.publish(f"$KV.B.{number}", b"", timeout=2)
        assert clock.now() - began == pytest.approx(80, abs=0.1)
        assert 5 < len(await transport.subjects("KV_B", ">")) < 35
        assert transport.published == 0

    run_virtual(main)


def test_a_crash_takes_everything_with_it() -> None:
    async def main(clock: VirtualClock) -> None:
        server = MemoryServer(clock)
        calm = await prepared(server)
        server.faults = Faults(delay=(0.1, 0.1))
        doomed = server.connect()
        called: list[object] = []
        doomed.on_reconnect(lambda: called.append("reconnect"))
        await doomed.subscribe("host.1", called.append)
        await doomed.consume("WORK", "c", called.append, window=5)
        write = doomed.publish("$KV.B.a", b"")
        request = doomed.request("host.1", b"")
        sent = calm.publish("work.job.1", b"")
        await asyncio.sleep(0.05)
        doomed.crash()
        doomed.reconnect()
        await asyncio.sleep(10)
        assert called == []
        assert not write.done()
        assert not request.done()
        assert await calm.last("KV_B", "$KV.B.a") is None
        with pytest.raises(NoResponders):
            await calm.request("host.1", b"")
        with pytest.raises(NotConnected, match="crashed"):
            await doomed.publish("$KV.B.a", b"")
        with pytest.raises(NotConnected):
            await doomed.last("KV_B", "$KV.B.a")
        await sent
        assert await calm.backlog("WORK", "c") == (1, 0)
        await doomed.close()

    run_virtual(main)


def test_a_delivery_in_a_crashed_process_comes_again_elsewhere() -> None:
    async def main(clock: VirtualClock) -> None:
        server = MemoryServer(clock)
        calm = await prepared(server)
        doomed = server.connect()
        first: list[Delivery] = []
        second: list[Delivery] = []
        await doomed.consume("WORK", "c", first.append, window=5)
        await calm.publish("work.job.1", b"")
        await asyncio.sleep(0.01)
        doomed.crash()
        first[0].ack()
        await calm.consume("WORK", "c", second.append, window=5)
        await asyncio.sleep(2.9)
        assert second == []
        await asyncio.sleep(0.2)
        assert [delivery.attempt for delivery in second] == [2]

    run_virtual(main)


def test_a_cut_ends_what_is_open_and_holds_what_comes() -> None:
    async def main(clock: VirtualClock) -> None:
        server = MemoryServer(clock)
        calm = await prepared(server)
        cut = server.connect()
        heard: list[Message] = []
        got: list[Delivery] = []
        events: list[str] = []
        cut.on_reconnect(lambda: events.append("reconnect"))
        await cut.subscribe("hello", heard.append)
        await cut.subscribe("mute", lambda message: None)
        await cut.consume("WORK", "c", got.append, window=5)
        write = cut.publish("$KV.B.a", b"1")
        request = cut.request("mute", b"")
        cut.disconnect()
        with pytest.raises(OutcomeUnknown):
            await write
        with pytest.raises(RequestTimeout):
            await request
        waiting = [cut.publish("$KV.B.a", b"%d" % number) for number in range(3)]
        short = cut.publish("$KV.B.b", b"", timeout=0.5)
        reading = asyncio.create_task(cut.subjects("KV_B", ">"))
        cut.send("hello", b"dropped")
        calm.send("hello", b"missed")
        await calm.publish("work.job.1", b"")
        with pytest.raises(NotConnected, match="nothing was written"):
            await short
        await asyncio.sleep(1)
        assert got == []
        cut.reconnect()
        assert [ack.sequence for ack in await asyncio.gather(*waiting)] == [1, 2, 3]
        assert await reading in ([], ["$KV.B.a"])
        calm.send("hello", b"heard")
        await asyncio.sleep(0.1)
        assert [message.data for message in heard] == [b"heard"]
        assert len(got) == 1
        assert events == ["reconnect"]

    run_virtual(main)


def test_an_ack_made_while_cut_off_still_counts() -> None:
    async def main(clock: VirtualClock) -> None:
        server = MemoryServer(clock)
        transport = await prepared(server)
        got: list[Delivery] = []
        consumption = await transport.consume("WORK", "c", got.append, window=5)
        await transport.publish("work.job.1", b"")
        await asyncio.sleep(0.01)
        transport.disconnect()
        got[0].ack()
        assert consumption.outstanding == 0
        transport.reconnect()
        await asyncio.sleep(10)
        assert len(got) == 1
        assert await transport.subjects("WORK", ">") == []

    run_virtual(main)


def test_core_messages_may_be_lost_doubled_and_reordered() -> None:
    async def hear(clock: VirtualClock, faults: Faults) -> list[bytes]:
        server = MemoryServer(clock, faults=faults, seed=3)
        transport = server.connect()
        heard: list[bytes] = []
        await transport.subscribe("a", lambda message: heard.append(message.data))
        for number in range(100):
            transport.send("a", b"%d" % number)
        await asyncio.sleep(10)
        return heard

    everything = [b"%d" % number for number in range(100)]
    assert run_virtual(lambda clock: hear(clock, Faults(delay=(0.0, 1.0)))) == everything
    assert 50 < len(run_virtual(lambda clock: hear(clock, Faults(lose=0.2)))) < 95
    assert 105 < len(run_virtual(lambda clock: hear(clock, Faults(double=0.2)))) < 150
    reordered = run_virtual(lambda clock: hear(clock, Faults(reorder=0.5, delay=(0.0, 1.0))))
    assert reordered != everything
    assert sorted(reordered) == sorted(everything)


def test_schedules_fire_at_their_virtual_instant_and_cost_no_real_time() -> None:
    async def main(clock: VirtualClock) -> None:
        transport = await prepared(MemoryServer(clock))
        fired: list[tuple[bytes, float]] = []

        def note(delivery: Delivery) -> None:
            fired.append((delivery.data, clock.now()))
            delivery.ack()

        await transport.consume("WORK", "c", note, window=100)
        began = clock.now()
        for day in range(50, 0, -1):
            await transport.schedule(f"work.timer.{day}", began + day * 86_400, "work.job.1", b"%d" % day)
        await asyncio.sleep(51 * 86_400)
        assert [data for data, _ in fired] == [b"%d" % day for day in range(1, 51)]
        assert all(0 <= at - began - int(data) * 86_400 < 0.01 for data, at in fired)

    run_virtual(main)


def test_compare_and_set_has_one_winner_under_delay() -> None:
    async def main(clock: VirtualClock) -> None:
        server = MemoryServer(clock, faults=Faults(delay=(0.0, 0.5)), seed=7)
        await prepared(server)
        writes = [server.connect().publish("$KV.B.a", b"", expect=0) for _ in range(20)]
        outcomes = await asyncio.gather(*writes, return_exceptions=True)
        assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 19

    run_virtual(main)


def test_faults_strike_the_same_whatever_else_is_switched_on() -> None:
    async def lost(clock: VirtualClock, faults: Faults) -> list[int]:
        transport = await prepared(MemoryServer(clock, faults=faults, seed=5))
        writes: list[Coroutine[Any, Any, Any] | asyncio.Future[Any]] = [transport.publish("$KV.B.a", b"") for _ in range(50)]
        outcomes = await asyncio.gather(*writes, return_exceptions=True)
        return [number for number, outcome in enumerate(outcomes) if isinstance(outcome, OutcomeUnknown)]

    once = run_virtual(lambda clock: lost(clock, Faults(unknown=0.3)))
    assert once == run_virtual(lambda clock: lost(clock, Faults(unknown=0.3, lose=0.0, reorder=0.0)))
    assert 5 < len(once) < 25
