"""Limits, fairness and priorities of tasks, in virtual time."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from aiki.sdk import Concurrency, Context, DefinitionError, Rate, Retry, Task, TaskContext, TaskTimedOut, task, workflow
from aiki.testing import TestEnvironment


class Order(msgspec.Struct):
    customer: str
    number: int = 0
    urgency: int = 0


class Gauge:
    """Sees bodies begin and end."""

    def __init__(self) -> None:
        self.now: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.began: list[tuple[float, Order]] = []

    async def body(self, order: Order, length: float) -> int:
        self.began.append((asyncio.get_running_loop().time(), order))
        for key in ("all", order.customer):
            self.now[key] += 1
            self.most[key] = max(self.most[key], self.now[key])
        try:
            await asyncio.sleep(length)
        finally:
            for key in ("all", order.customer):
                self.now[key] -= 1
        return order.number


gauge = Gauge()


@pytest.fixture(autouse=True)
def fresh() -> None:
    gauge.__init__()  # type: ignore[misc]


@pytest.fixture
async def env() -> AsyncIterator[TestEnvironment]:
    async with TestEnvironment.in_memory() as environment:
        yield environment


@task(name="capped", concurrency=3)
async def capped(order: Order) -> int:
    return await gauge.body(order, 1.0)


@task(name="keyed", limits=[Concurrency(4), Concurrency(1, key=lambda order: order.customer)])
async def keyed(order: Order) -> int:
    return await gauge.body(order, 1.0)


@task(name="rated", limits=[Rate(5, per=timedelta(seconds=2)), Rate(1, per=2, key=lambda order: order.customer)])
async def rated(order: Order) -> int:
    return await gauge.body(order, 0.0)


@task(name="fair", fair=lambda order: order.customer, priority=lambda order: order.urgency)
async def fair(order: Order) -> int:
    return await gauge.body(order, 0.1)


@task(name="flaky", limits=[Concurrency(1)], fair=lambda order: order.customer, retry=Retry.fixed(max_attempts=2, delay=60))
async def flaky(order: Order, call: TaskContext) -> int:
    await gauge.body(order, 1.0)
    if call.attempt == 1:
        raise ValueError("not yet")
    return call.attempt


TASKS: dict[str, Task[Order, int, ..., Any]] = {each.name: each for each in (capped, keyed, rated, fair, flaky)}


class Batch(msgspec.Struct):
    task: str
    orders: list[Order]


@workflow(name="batch")
async def batch(ctx: Context, call: Batch) -> list[int]:
    return list(await asyncio.gather(*(TASKS[call.task].run(ctx, order) for order in call.orders)))


async def test_a_cap_holds_over_all_workers(env: TestEnvironment) -> None:
    for _ in range(3):
        await env.worker(batch, capped)
    began = env.now()
    orders = [Order("a", number) for number in range(12)]
    assert await env.run(batch, Batch("capped", orders)) == list(range(12))
    assert gauge.most["all"] == 3
    assert (env.now() - began).total_seconds() == pytest.approx(4, abs=0.5)


async def test_a_limit_per_key(env: TestEnvironment) -> None:
    for _ in range(3):
        await env.worker(batch, keyed)
    began = env.now()
    orders = [Order("abcdef"[number % 6], number) for number in range(12)]
    assert await env.run(batch, Batch("keyed", orders)) == list(range(12))
    assert gauge.most["all"] == 4
    assert {gauge.most[key] for key in "abcdef"} == {1}
    assert (env.now() - began).total_seconds() == pytest.approx(3, abs=1)


async def test_rates(env: TestEnvironment) -> None:
    await env.worker(batch, rated)
    orders = [Order("abcdefghij"[number % 10], number) for number in range(20)]
    assert await env.run(batch, Batch("rated", orders)) == list(range(20))
    instants = [at for at, _ in gauge.began]
    for first, sixth in zip(instants, instants[5:], strict=False):
        assert sixth - first > 1.9
    assert instants[-1] - instants[0] < 8
    for key in "abcdefghij":
        one, two = (at for at, order in gauge.began if order.customer == key)
        assert two - one > 1.9


async def test_one_tenants_thousands_delay_nobody_else(env: TestEnvironment) -> None:
    await env.worker(batch, fair, max_concurrent_tasks=4)
    crowd = await batch.enqueue(env.client, Batch("fair", [Order("crowd", number) for number in range(400)]))
    await env.advance(1)
    began = env.now()
    await env.run(batch, Batch("fair", [Order("single")]))
    assert (env.now() - began).total_seconds() < 1
    assert len(await crowd.wait_for_completion()) == 400


async def test_priorities_come_first(env: TestEnvironment) -> None:
    await env.worker(batch, fair, max_concurrent_tasks=1)
    orders = [Order("a", number, number % 3) for number in range(60)]
    await env.run(batch, Batch("fair", orders))
    late = [order.urgency for _, order in gauge.began][12:]
    assert late == sorted(late, reverse=True)


async def test_a_retry_that_waits_gives_its_place_to_others(env: TestEnvironment) -> None:
    await env.worker(batch, flaky)
    began = env.now()
    assert await env.run(batch, Batch("flaky", [Order("a", 1), Order("b", 2)])) == [2, 2]
    assert gauge.most["all"] == 1
    assert 60 < (env.now() - began).total_seconds() < 67


async def test_a_killed_worker_leaves_no_place_taken(env: TestEnvironment) -> None:
    one = await env.worker(batch, keyed)
    handle = await batch.enqueue(env.client, Batch("keyed", [Order("a", 1), Order("a", 2), Order("b", 3)]))
    await env.advance(0.5)
    assert gauge.now["a"] == 1
    await env.crash_worker(one)
    gauge.now.clear()
    await env.worker(batch, keyed)
    assert await handle.wait_for_completion() == [1, 2, 3]
    assert gauge.most["a"] == 1


async def test_withdrawn_dispatches_leave_the_waiting_room(env: TestEnvironment) -> None:
    await env.worker(batch, keyed)
    handle = await batch.enqueue(env.client, Batch("keyed", [Order("a", number) for number in range(5)]))
    await env.advance(0.5)
    await handle.cancel("no more")
    await env.advance(5)
    assert len(gauge.began) == 1
    assert await env.run(batch, Batch("keyed", [Order("a", 9)])) == [9]


async def test_an_idle_gate_costs_no_time(env: TestEnvironment) -> None:
    await env.worker(batch, keyed)
    await env.run(batch, Batch("keyed", [Order("a")]))
    await env.advance(timedelta(days=365 * 50))
    assert await env.run(batch, Batch("keyed", [Order("a")])) == [0]


async def test_limits_are_shown(env: TestEnvironment) -> None:
    worker = await env.worker(batch, keyed, capped, fair)
    await batch.enqueue(env.client, Batch("capped", [Order("a", number) for number in range(5)]))
    handle = await batch.enqueue(env.client, Batch("keyed", [Order("a.b", 1), Order("a.b", 2), Order("c" * 300, 3)]))
    await env.advance(0.5)
    shown = await env.client.limits()
    assert [(view.queue, view.task, view.waiting, view.at_work) for view in shown] == [
        ("default", "capped", 2, 3),
        ("default", "fair", 0, 0),
        ("default", "keyed", 1, 2),
    ]
    assert [view.rules for view in shown] == [
        ("3 at a time",),
        ("turns are taken between keys",),
        ("4 at a time", "1 at a time of each key"),
    ]
    (view,) = await env.client.limits("keyed")
    assert (view.admitted, view.keeper) == (2, worker.id)
    first, second = view.keys
    assert (first.priority, first.keys, first.waiting, first.at_work) == (0, ("a.b", None, "a.b"), 1, 1)
    assert (second.waiting, second.at_work) == (0, 1)
    assert second.keys[2] is not None
    assert len(second.keys[2]) == 32
    status = await handle.get_status()
    assert sorted(status.waiting_on) == ["a place for task keyed, which is limited", "task keyed", "task keyed"]
    waits = (await handle.describe()).waits
    assert sorted(wait.kind for wait in waits) == ["gate", "task", "task"]
    await handle.wait_for_completion()
    (view,) = await env.client.limits("keyed")
    assert (view.waiting, view.at_work, view.keys) == (0, 0, ())


async def test_a_priority_of_one_call(env: TestEnvironment) -> None:
    @workflow(name="calls")
    async def calls(ctx: Context) -> None:
        await asyncio.gather(*(fair.run(ctx, Order("a", number), priority=9 if number == 19 else None) for number in range(20)))

    await env.worker(calls, fair, max_concurrent_tasks=1)
    await env.run(calls)
    assert 19 in [order.number for _, order in gauge.began[:4]]


async def test_workers_that_know_no_keys_of_a_call_send_it_to_the_gate(env: TestEnvironment) -> None:
    """What reaches the queue past the gate, from older code, waits at it all the same."""

    @task(name="keyed")
    async def before(order: Order) -> int:
        raise AssertionError("never run: it stands for the code of the caller")

    @workflow(name="old")
    async def old(ctx: Context, orders: list[Order]) -> list[int]:
        return list(await asyncio.gather(*(before.run(ctx, order) for order in orders)))

    await env.worker(old, keyed)
    assert await env.run(old, [Order("a", number) for number in range(3)]) == [0, 1, 2]
    assert gauge.most["a"] == 1


BAD: dict[str, dict[str, Any]] = {
    "none at a time": {"concurrency": 0},
    "half a place": {"concurrency": 1.5},
    "a truth": {"concurrency": True},
    "no limit": {"limits": [3]},
    "too many limits": {"limits": [Concurrency(1)] * 9},
    "no function": {"fair": "customer"},
    "no priority": {"priority": 10},
    "a negative priority": {"priority": -1},
    "local": {"concurrency": 1, "local": True},
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_refused_when_it_is_declared(name: str) -> None:
    with pytest.raises(DefinitionError, match=r"task 'bad'|Concurrency|priority"):

        @task(name="bad", **BAD[name])
        async def bad(order: Order) -> None: ...


def test_limits_that_are_none() -> None:
    for make in (
        lambda: Concurrency(0),
        lambda: Concurrency(-1),
        lambda: Concurrency(1, key="customer"),  # type: ignore[arg-type]
        lambda: Rate(0),
        lambda: Rate(1, per=0),
        lambda: Rate(1, per=timedelta(seconds=-1)),
        lambda: Rate(1, key=3),  # type: ignore[arg-type]
    ):
        with pytest.raises(DefinitionError):
            make()


@pytest.mark.parametrize("key", [None, 1.5, True, "", "x" * 1025, ["a"]])
async def test_keys_that_are_none_are_refused_before_anything_is_stored(env: TestEnvironment, key: Any) -> None:
    @task(name="odd", limits=[Concurrency(1, key=lambda order: key)])
    async def odd(order: Order) -> None: ...

    @workflow(name="calls")
    async def calls(ctx: Context) -> str:
        with pytest.raises(DefinitionError, match="key"):
            await odd.run(ctx, Order("a"))
        return "refused"

    await env.worker(calls, odd)
    assert await env.run(calls) == "refused"


async def test_calls_that_limits_forbid(env: TestEnvironment) -> None:
    @task(name="plain")
    async def plain(order: Order) -> None: ...

    @workflow(name="calls")
    async def calls(ctx: Context) -> str:
        for call in (
            lambda: plain.run(ctx, Order("a"), priority=1),
            lambda: capped.run(ctx, Order("a"), priority=1),
            lambda: capped.run(ctx, Order("a"), local=True),
            lambda: keyed.run(ctx, Order("a"), local=True),
            lambda: keyed.run(ctx, Order("a"), priority=10),
        ):
            with pytest.raises(DefinitionError):
                await call()
        return "refused"

    await env.worker(calls, plain, capped, keyed)
    assert await env.run(calls) == "refused"


async def test_limits_that_are_taken_away_let_in_who_waits(env: TestEnvironment) -> None:
    first = await env.worker(batch, keyed)
    handle = await batch.enqueue(env.client, Batch("keyed", [Order("a", number) for number in range(5)]))
    await env.advance(0.5)
    await env.crash_worker(first)

    @task(name="keyed")
    async def free(order: Order) -> int:
        return order.number

    await env.worker(batch, free)
    assert await handle.wait_for_completion(timeout=60) == list(range(5))


async def test_nobody_is_let_into_a_paused_queue(env: TestEnvironment) -> None:
    begun: list[float] = []

    @task(name="paced", limits=[Rate(2, per=10)])
    async def paced(number: int) -> int:
        begun.append(asyncio.get_running_loop().time())
        return number

    @workflow(name="many")
    async def many(ctx: Context) -> list[int]:
        return list(await asyncio.gather(*(paced.run(ctx, number) for number in range(8))))

    await env.worker(paced, many)
    await env.client.pause_queue("default")
    run = await many.enqueue(env.client)
    await env.advance(600)
    assert begun == []
    (limit,) = await env.client.limits()
    assert (limit.waiting, limit.at_work, limit.admitted) == (8, 0, 0)
    await env.client.resume_queue("default")
    assert await run.wait_for_completion() == list(range(8))
    assert all(after - first > 10 - 1e-3 for first, after in zip(begun, begun[2:], strict=False))


async def test_the_patience_for_a_start_counts_at_the_gate_too(env: TestEnvironment) -> None:
    @task(name="slow", limits=[Concurrency(1, key=lambda number: "one")], start_timeout=5)
    async def slow(number: int) -> int:
        await asyncio.sleep(20)
        return number

    @workflow(name="impatient")
    async def impatient(ctx: Context) -> list[str]:
        done = await asyncio.gather(*(slow.run(ctx, number) for number in range(3)), return_exceptions=True)
        return [each.code if isinstance(each, TaskTimedOut) else "done" for each in done]

    await env.worker(slow, impatient)
    run = await impatient.enqueue(env.client)
    await env.advance(10)
    subjects = env.client.subjects
    assert await env.client.transport.subjects(subjects.task_stream, f"{subjects.wait_prefix}>") == [], "they are withdrawn from the room"
    assert await run.wait_for_completion() == ["done", "task_timed_out", "task_timed_out"]


async def test_what_waits_at_a_gate_leaves_it_when_its_run_is_reset_or_continues_as_new(env: TestEnvironment) -> None:
    @task(name="one", limits=[Concurrency(1, key=lambda number: "one")])
    async def one(number: int) -> int:
        await asyncio.sleep(number)
        return number

    @task(name="here", local=True)
    async def here(number: int) -> int:
        return number

    @workflow(name="shop")
    async def shop(ctx: Context, generation: int) -> int:
        if generation == 1:
            return 1
        await here.run(ctx, 1)
        waiting = [asyncio.create_task(one.run(ctx, 30)) for _ in range(3)]
        await ctx.sleep(20)
        assert waiting
        return await ctx.continue_as_new(1)

    async def rooms() -> int:
        subjects = env.client.subjects
        return len(await env.client.transport.subjects(subjects.task_stream, f"{subjects.wait_prefix}>"))

    await env.worker(one, here, shop)
    run = await shop.enqueue(env.client, 0)
    await env.advance(2)
    assert await rooms() == 2
    await run.reset("here")
    await env.advance(2)
    assert await rooms() <= 3, "those of before are gone"
    assert await run.wait_for_completion() == 1
    await env.advance(1)
    assert await rooms() == 0
