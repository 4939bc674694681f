"""Actors on a real server: what is stored, what is not, and what expires."""

import asyncio
from datetime import timedelta

import pytest

from aiki.sdk import Actor, ActorContext, ActorDeadlock, ActorNotFound, ActorTimeout, Context, actor, handler, workflow
from tests.integration.engine.place import Place, eventually


@actor(name="ünïcode counter.1")
class Counter(Actor):
    value: int = 0

    @handler
    async def add(self, ctx: ActorContext, by: int = 1) -> int:
        self.value += by
        return self.value

    @handler(read_only=True)
    async def read(self, ctx: ActorContext) -> int:
        return self.value

    @handler
    async def same(self, ctx: ActorContext) -> int:
        return self.value

    @handler
    async def add_elsewhere(self, ctx: ActorContext, id: str) -> None:
        self.value += 1
        await Counter.ref(ctx, id).tell.add(10)

    @handler
    async def add_later(self, ctx: ActorContext, seconds: float) -> None:
        ctx.remind(Counter.add, 100, after=seconds)

    @handler
    async def sit_and_ask(self, ctx: ActorContext, id: str) -> str:
        await asyncio.sleep(0.2)
        try:
            await Counter.ref(ctx, id).ask.add()
        except ActorDeadlock as error:
            return error.code
        return ""


@actor(name="brief", ttl=timedelta(seconds=1))
class Brief(Actor):
    value: int = 0

    @handler
    async def add(self, ctx: ActorContext) -> int:
        self.value += 1
        return self.value


async def stored(place: Place) -> int:
    """How many messages the bucket of actors has ever stored."""
    import nats

    connection = await nats.connect(place.server.url)
    try:
        return (await connection.jsm().stream_info(place.client.subjects.actors_stream)).state.last_seq
    finally:
        await connection.close()


async def test_an_ask_is_one_write_and_a_read_none(place: Place) -> None:
    await place.worker(Counter)
    counter = Counter.ref(place.client, "a.b *>")
    assert await counter.ask.add(5) == 5
    assert await stored(place) == 1
    assert await counter.ask.add() == 6
    assert [await counter.ask.read(), await counter.ask.same()] == [6, 6]
    assert await stored(place) == 2
    view = await counter.describe()
    assert (view.actor, view.id, view.fields) == ("ünïcode counter.1", "a.b *>", {"value": 6})


async def test_ids_of_any_kind(place: Place) -> None:
    await place.worker(Counter)
    for id in ("x", "a.b", "*", ">", "ü", "a b", "=2E", "q" * 120):
        assert await Counter.ref(place.client, id).ask.add() == 1


async def test_tells_and_reminders(place: Place) -> None:
    await place.worker(Counter)
    await Counter.ref(place.client, "a").tell.add_elsewhere("b")
    await Counter.ref(place.client, "a").ask.add_later(0.3)
    other = Counter.ref(place.client, "b")

    async def arrived() -> bool:
        return await other.ask.read() == 10 and await Counter.ref(place.client, "a").ask.read() == 101

    await eventually(arrived)


async def test_a_state_expires(place: Place) -> None:
    await place.worker(Brief)
    brief = Brief.ref(place.client, "a")
    assert await brief.ask.add() == 1

    async def gone() -> bool:
        try:
            await brief.describe()
        except ActorNotFound:
            return True
        return False

    await eventually(gone)
    assert await brief.ask.add() == 1


async def test_two_workers_and_one_that_leaves(place: Place) -> None:
    first = await place.worker(Counter)
    await place.worker(Counter)
    counters = [Counter.ref(place.client, str(number)) for number in range(30)]
    other = await place.connect()
    for counter in counters:
        assert await counter.ask.add() == 1
        assert await Counter.ref(other, counter.id).ask.add() == 2
    await first.stop(5)
    assert [await counter.ask.add() for counter in counters] == [3] * 30


async def test_a_deadlock_across_workers(place: Place) -> None:
    await place.worker(Counter)
    await place.worker(Counter)
    one, two = Counter.ref(place.client, "one"), Counter.ref(place.client, "two")
    await one.ask.add()
    await two.ask.add()
    answers = await asyncio.gather(one.ask.sit_and_ask("two"), two.ask.sit_and_ask("one"))
    assert "actor_deadlock" in answers


async def test_from_a_workflow(place: Place) -> None:
    @workflow(name="uses-actors")
    async def uses(ctx: Context, id: str) -> int:
        counter = Counter.ref(ctx, id)
        await counter.ask.add(3)
        await counter.tell.add(4)
        await ctx.sleep(0.3)
        return await counter.ask.read()

    await place.worker(uses, Counter)
    assert await (await uses.enqueue(place.client, "w")).wait_for_completion(timeout=10) == 7


async def test_nobody_serves_the_type(place: Place) -> None:
    with pytest.raises(ActorTimeout):
        await Counter.ref(place.client, "a", timeout=0.2).ask.add()
    await Counter.ref(place.client, "b").tell.add(2)
    await place.worker(Counter)
    assert await Counter.ref(place.client, "b").ask.add(2) == 4
