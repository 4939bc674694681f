"""Actors in memory, with virtual time: what handlers do, what callers see."""

import asyncio
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel

from aiki.sdk import (
    ActorContext,
    ActorDeadlock,
    ActorFailed,
    ActorHeld,
    ActorNotFound,
    ActorStopped,
    ActorTimeout,
    Client,
    Context,
    DefinitionError,
    PayloadError,
    PayloadTooLarge,
    TaskContext,
    TaskFailed,
    UnknownHandler,
    actor,
    handler,
    task,
    workflow,
)
from aiki.testing import TestEnvironment


class Item(msgspec.Struct):
    name: str
    price: int = 1


class Note(BaseModel):
    text: str


@actor(name="cart")
class Cart:
    items: list[Item] = []
    total: int = 0
    note: Note | None = None

    @handler
    async def add(self, ctx: ActorContext, item: Item) -> int:
        self.items.append(item)
        self.total += item.price
        return len(self.items)

    @handler
    async def annotate(self, ctx: ActorContext, text: str) -> Note:
        self.note = Note(text=text)
        return self.note

    @handler(read_only=True)
    async def count(self, ctx: ActorContext) -> int:
        self.total = 999  # discarded
        return len(self.items)

    @handler
    async def fail(self, ctx: ActorContext, why: str) -> None:
        self.items.clear()
        raise ValueError(why)

    @handler
    async def spoil(self, ctx: ActorContext) -> None:
        self.total = "many"  # type: ignore[assignment]

    @handler
    async def twice(self, ctx: ActorContext, item: Item) -> int:
        await self.add(item)
        return await self.add(ctx, item)  # type: ignore[call-arg, arg-type]


@actor(name="parent")
class Parent:
    told: int = 0
    ticks: int = 0

    @handler
    async def pass_on(self, ctx: ActorContext, times: int) -> int:
        cart: Any = Cart.ref(ctx, "told")  # type: ignore[attr-defined]
        for number in range(times):
            await cart.tell.add(Item(str(number)))
        self.told += times
        return self.told

    @handler
    async def pass_on_and_fail(self, ctx: ActorContext) -> None:
        await Cart.ref(ctx, "told").tell.add(Item("never"))  # type: ignore[attr-defined]
        raise ValueError("no")

    @handler
    async def look(self, ctx: ActorContext) -> int:
        return int(await Cart.ref(ctx, "told").ask.count())  # type: ignore[attr-defined]

    @handler
    async def start(self, ctx: ActorContext, every: float | None = None) -> None:
        ctx.remind(Parent.tick, 5, after=timedelta(minutes=1), every=every, name="clock")

    @handler
    async def end(self, ctx: ActorContext) -> None:
        ctx.cancel_reminder("clock")

    @handler
    async def tick(self, ctx: ActorContext, by: int) -> None:
        self.ticks += by

    @handler(read_only=True)
    async def ticked(self, ctx: ActorContext) -> int:
        return self.ticks


def ref(kind: Any, at: Any, id: str = "1", **options: Any) -> Any:
    return kind.ref(at, id, **options)


async def test_asking_and_telling() -> None:
    async with TestEnvironment.in_memory() as env:
        await env.worker(Cart)
        cart = ref(Cart, env.client)
        assert [await cart.ask.add(Item("book")), await cart.ask.add(item=Item("pen", 3))] == [1, 2]
        await cart.tell.add(Item("ink"))
        await env.advance(1)
        assert await cart.ask.count() == 3
        assert await cart.ask.twice(Item("cup")) == 5
        assert await cart.ask.annotate("hello") == Note(text="hello")
        view = await cart.describe()
        assert (view.status, view.fields["total"], view.fields["note"], len(view.fields["items"])) == ("active", 7, {"text": "hello"}, 5)
        assert await ref(Cart, env.client, "other").ask.count() == 0
        with pytest.raises(ActorNotFound):
            await ref(Cart, env.client, "other").describe()


async def test_the_state_outlives_the_worker() -> None:
    async with TestEnvironment.in_memory() as env:
        worker = await env.worker(Cart)
        cart = ref(Cart, env.client)
        await cart.ask.add(Item("book"))
        await env.crash_worker(worker)
        asked = asyncio.create_task(cart.ask.add(Item("pen")))
        await env.advance(1)
        await env.restart_worker()
        assert await asked == 2


async def test_failures_leave_the_state() -> None:
    async with TestEnvironment.in_memory() as env:
        await env.worker(Cart)
        cart = ref(Cart, env.client)
        await cart.ask.add(Item("book"))
        with pytest.raises(ActorFailed, match="empty it") as failed:
            await cart.ask.fail("empty it")
        assert (failed.value.error.type, failed.value.actor, failed.value.id, failed.value.handler) == ("ValueError", "cart", "1", "fail")
        with pytest.raises(ActorFailed, match="total"):
            await cart.ask.spoil()
        assert await cart.ask.count() == 1
        await cart.tell.fail("unheard")
        assert await cart.ask.add(Item("pen")) == 2
        with pytest.raises(PayloadError):
            await cart.ask.add("pen")
        with pytest.raises(TypeError):
            await cart.ask.add()
        with pytest.raises(UnknownHandler, match="it has add, annotate"):
            cart.ask.remove()
        with pytest.raises(UnknownHandler):
            await env.client.caller.ask("cart.1", "remove", b"null", timeout=5)
        with pytest.raises(PayloadError):
            await env.client.caller.ask("cart.1", "add", b"3", timeout=5)


async def test_nobody_answers() -> None:
    async with TestEnvironment.in_memory() as env:
        with pytest.raises(ActorTimeout, match="cart '1' has not answered 'count' within 3 s"):
            await ref(Cart, env.client, timeout=3).ask.count()


async def test_actors_tell_when_they_succeed() -> None:
    async with TestEnvironment.in_memory() as env:
        await env.worker(Cart, Parent)
        parent = ref(Parent, env.client)
        assert await parent.ask.pass_on(3) == 3
        with pytest.raises(ActorFailed):
            await parent.ask.pass_on_and_fail()
        await env.advance(1)
        assert await parent.ask.look() == 3


async def test_reminders() -> None:
    async with TestEnvironment.in_memory() as env:
        await env.worker(Parent, actor_idle=10)
        parent = ref(Parent, env.client)
        await parent.ask.start()
        await env.advance(50)
        assert await parent.ask.ticked() == 0
        await env.crash_worker()
        await env.restart_worker()
        await env.advance(11)
        assert await parent.ask.ticked() == 5
        await parent.ask.start(60.0)
        (reminder,) = (await parent.describe()).reminders
        assert (reminder.name, reminder.handler, reminder.every) == ("clock", "tick", 60.0)
        await env.advance(3601)
        assert await parent.ask.ticked() == 305
        await parent.ask.end()
        await env.advance(3600)
        assert await parent.ask.ticked() == 305
        assert (await parent.describe()).reminders == ()


@pytest.mark.parametrize("policy", ["hold", "stop"])
async def test_supervision(policy: Any) -> None:
    @actor(name="strict", on_error=policy)
    class Strict:
        value: int = 0

        @handler
        async def divide(self, ctx: ActorContext, by: int) -> float:
            self.value += 1
            return 1 / by

        @handler
        async def add(self, ctx: ActorContext, by: int) -> int:
            self.value += by
            return self.value

    async with TestEnvironment.in_memory() as env:
        await env.worker(Strict)
        strict = ref(Strict, env.client)
        await strict.ask.add(5)
        with pytest.raises(ActorFailed, match="ZeroDivisionError"):
            await strict.ask.divide(0)
        with pytest.raises(ActorHeld if policy == "hold" else ActorStopped, match="ZeroDivisionError"):
            await strict.ask.add(1)
        await strict.tell.add(10)
        await env.advance(20)
        view = await strict.describe()
        assert (view.status, view.error.type) == ("held" if policy == "hold" else "stopped", "ZeroDivisionError")
        await strict.resume()
        await env.advance(10)
        assert await strict.ask.add(1) == (16 if policy == "hold" else 1)


async def test_a_state_expires() -> None:
    @actor(name="brief", ttl=timedelta(seconds=10))
    class Brief:
        value: int = 0

        @handler
        async def add(self, ctx: ActorContext, by: int) -> int:
            self.value += by
            return self.value

    async with TestEnvironment.in_memory() as env:
        await env.worker(Brief)
        brief = ref(Brief, env.client)
        for expected in (1, 2, 3):
            assert await brief.ask.add(1) == expected
            await env.advance(8)
        await env.advance(3)
        assert await brief.ask.add(1) == 1


async def test_calls_from_workflows_and_tasks_count_once() -> None:
    attempts = 0

    @task(name="shop")
    async def shop(id: str, context: TaskContext) -> int:
        cart = ref(Cart, box[0], id, key=context.idempotency_key)
        await cart.tell.add(Item("told"))
        return int(await cart.ask.add(Item("asked")))

    @workflow(name="order")
    async def order(ctx: Context, id: str) -> list[int]:
        cart = ref(Cart, ctx, id)
        first = await cart.ask.add(Item("book"))
        await cart.tell.add(Item("pen"))
        await ctx.sleep(5)
        try:
            await cart.ask.fail("no")
        except TaskFailed as error:
            assert error.error.code == "actor_failed", error.error
        return [first, await shop.run(ctx, id), await cart.ask.count()]

    box: list[Client] = []
    async with TestEnvironment.in_memory(always_replay=True) as env:
        box.append(env.client)
        await env.worker(Cart, order, shop)
        assert await env.run(order, "w") == [1, 4, 4]
        for number in range(1, 12):
            env.crash_after_commit(number, restart=True) if number % 2 else env.crash_before_commit(number, restart=True)
            assert await env.run(order, f"w{number}") == [1, 4, 4]
    assert attempts == 0


async def test_the_same_id_is_applied_once() -> None:
    async with TestEnvironment.in_memory() as env:
        await env.worker(Cart)
        for _ in range(3):
            assert await ref(Cart, env.client, key="k").ask.add(Item("book")) == 1
            await ref(Cart, env.client, "2", key="t").tell.add(Item("book"))
        await env.advance(300)
        await ref(Cart, env.client, "2", key="t").tell.add(Item("book"))
        assert await ref(Cart, env.client, "2").ask.count() == 1


@actor(name="ring")
class Ring:
    calls: int = 0

    @handler
    async def ask_next(self, ctx: ActorContext, others: list[str]) -> int:
        self.calls += 1
        if others:
            await ref(Ring, ctx, others[0], timeout=100).ask.ask_next(others[1:])
        return self.calls

    @handler
    async def wait_and_ask(self, ctx: ActorContext, other: str) -> str:
        await asyncio.sleep(1)
        try:
            await ref(Ring, ctx, other, timeout=100).ask.ask_next([])
        except ActorDeadlock as error:
            return " ".join(error.chain)
        return ""


async def test_a_deadlock_is_found_and_named() -> None:
    async with TestEnvironment.in_memory() as env:
        await env.worker(Ring)
        with pytest.raises(ActorDeadlock, match=r"ring\.a → ring\.b → ring\.c → ring\.a"):
            await ref(Ring, env.client, "a").ask.ask_next(["b", "c", "a"])
        with pytest.raises(ActorDeadlock, match=r"ring\.a → ring\.a"):
            await ref(Ring, env.client, "a").ask.ask_next(["a"])
        assert await ref(Ring, env.client, "a").ask.ask_next(["b", "c"]) == 1


async def test_a_deadlock_of_calls_that_cross_is_found() -> None:
    async with TestEnvironment.in_memory() as env:
        await env.worker(Ring)
        await env.worker(Ring)
        ids = ("a", "b", "c")
        for id in ids:  # what nobody has stored yet may be in two hands
            await ref(Ring, env.client, id).ask.ask_next([])
        asked = [ref(Ring, env.client, id).ask.wait_and_ask(ids[(number + 1) % 3]) for number, id in enumerate(ids)]
        answers = await asyncio.wait_for(asyncio.gather(*asked), 20)
        assert any(answers)
        assert all(len(answer.split()) == 4 for answer in answers if answer)


async def test_two_workers_share_without_harm() -> None:
    async with TestEnvironment.in_memory() as env:
        await env.worker(Cart)
        await env.worker(Cart)
        for number in range(20):
            await ref(Cart, env.client).tell.add(Item(str(number)))
        await asyncio.gather(*(ref(Cart, env.client).ask.add(Item("asked")) for _ in range(20)))
        await env.advance(5)
        assert await ref(Cart, env.client).ask.count() == 40


async def test_idle_actors_leave_memory() -> None:
    async with TestEnvironment.in_memory() as env:
        worker = await env.worker(Cart, cached_actors=3, actor_idle=60)
        for number in range(10):
            await ref(Cart, env.client, str(number)).ask.add(Item("book"))
        assert worker._entities.in_memory == 3
        await env.advance(61)
        assert worker._entities.in_memory == 0
        assert await ref(Cart, env.client, "5").ask.add(Item("pen")) == 2


async def test_a_message_for_newer_code_waits() -> None:
    async with TestEnvironment.in_memory() as env:
        await env.worker(Cart)
        await env.client.caller.tell("cart.1", "add_much_later", b"null")
        await env.client.caller.tell("cart.1", "add", b"3")  # fits no code: dropped
        await env.advance(20)
        mailbox = env.client.subjects.actor_mailbox("cart.1") + "*"
        stream = env.client.subjects.mail_stream
        assert len(await env.client.transport.subjects(stream, mailbox)) == 1
        await env.advance(3700)
        assert await env.client.transport.subjects(stream, mailbox) == []


async def test_who_gave_up_is_no_part_of_a_deadlock() -> None:
    @actor(name="slow")
    class Slow:
        calls: int = 0

        @handler
        async def give_up(self, ctx: ActorContext) -> bool:
            try:
                await ref(Slow, ctx, "b", timeout=2).ask.call_back()
            except ActorTimeout:
                return True
            return False

        @handler
        async def work(self, ctx: ActorContext) -> int:
            self.calls += 1
            await asyncio.sleep(6)
            return int(await ref(Slow, ctx, "a").ask.count())

        @handler
        async def call_back(self, ctx: ActorContext) -> None: ...

        @handler
        async def count(self, ctx: ActorContext) -> int:
            self.calls += 1
            return self.calls

    async with TestEnvironment.in_memory() as env:
        await env.worker(Slow)
        a, b = ref(Slow, env.client, "a"), ref(Slow, env.client, "b")
        assert [await a.ask.count(), await b.ask.count()] == [1, 1]
        working = asyncio.create_task(b.ask.work())
        await env.advance(1)
        assert await a.ask.give_up()
        assert await working == 2


async def test_a_state_that_grows_too_large_is_refused() -> None:
    @actor(name="hoard")
    class Hoard:
        things: list[str] = []

        @handler
        async def keep(self, ctx: ActorContext, thing: str) -> int:
            self.things.append(thing)
            return len(self.things)

    async with TestEnvironment.in_memory() as env:
        await env.worker(Hoard)
        hoard = ref(Hoard, env.client)
        assert await hoard.ask.keep("x" * 200_000) == 1
        with pytest.raises(ActorFailed, match="262,144"):
            await hoard.ask.keep("x" * 100_000)
        assert await hoard.ask.keep("y") == 2


async def test_a_commit_that_owes_too_much_is_refused() -> None:
    @actor(name="flood")
    class Flood:
        number: int = 0

        @handler
        async def tell_all(self, ctx: ActorContext, others: int) -> int:
            for number in range(others):
                await ref(Cart, ctx, f"c{number}").tell.add(Item("x" * 200_000))
            self.number += 1
            return self.number

    async with TestEnvironment.in_memory() as env:
        await env.worker(Flood, Cart)
        flood = ref(Flood, env.client)
        assert await flood.ask.tell_all(1) == 1
        results = await asyncio.gather(*(flood.ask.tell_all(others) for others in (2, 20, 0)), return_exceptions=True)
        assert [type(each) for each in results] == [int, PayloadTooLarge, int]
        assert await flood.ask.tell_all(0) == 4
        await env.advance(5)
        assert await ref(Cart, env.client, "c1").ask.count() == 1


def wrong(cls: Any, **options: Any) -> str:
    with pytest.raises(DefinitionError) as refused:
        actor(**options)(cls)
    return refused.value.message


def test_declarations_that_cannot_work() -> None:
    class NoHandler:
        value: int = 0

    class NoDefault:
        value: int

        @handler
        async def get(self, ctx: ActorContext) -> int:
            return self.value

    class WrongDefault:
        value: int = "one"  # type: ignore[assignment]

        @handler
        async def get(self, ctx: ActorContext) -> int:
            return self.value

    class Initialised:
        def __init__(self) -> None: ...

    class TooMany:
        @handler
        async def get(self, ctx: ActorContext, one: int, two: int) -> None: ...

    class Plain:
        @handler  # type: ignore[arg-type]
        def get(self, ctx: ActorContext) -> int:
            return 1

    assert "no @handler" in wrong(NoHandler)
    assert "'value' needs a default" in wrong(NoDefault)
    with pytest.raises(PayloadError, match="default of field 'value'"):
        actor()(WrongDefault)
    assert "must not have an __init__" in wrong(Initialised)
    assert "takes 4 parameters" in wrong(TooMany)
    assert "async def" in wrong(Plain)
    assert "on_error" in wrong(Cart, on_error="ignore")
    assert "ttl" in wrong(Cart, ttl=0)
    assert "empty" in wrong(Cart, name="")
    with pytest.raises(DefinitionError, match="outside of the actor"):
        _ = Cart().add(Item("book"))
