"""Limits of runs: what is started beyond them waits, is refused, is the run that is there, or takes its place."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta

import msgspec
import pytest

from aiki.sdk import (
    Client,
    Concurrency,
    Context,
    DefinitionError,
    LimitReached,
    RunHandle,
    Schedule,
    Trigger,
    Workflow,
    WorkflowCancelled,
    WorkflowFailed,
    workflow,
)
from aiki.testing import TestEnvironment


class Order(msgspec.Struct):
    customer: str
    number: int = 0


class Gauge:
    """Sees runs begin and end."""

    def __init__(self) -> None:
        self.now: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.began: list[int] = []

    async def body(self, ctx: Context, order: Order) -> int:
        def begin() -> None:
            self.began.append(order.number)
            for key in ("all", order.customer):
                self.now[key] += 1
                self.most[key] = max(self.most[key], self.now[key])

        def end() -> None:
            for key in ("all", order.customer):
                self.now[key] -= 1

        await ctx.step("begin", begin)
        try:
            await ctx.sleep(60)
        finally:
            await ctx.step("end", end)
        return order.number


gauge = Gauge()


@pytest.fixture(autouse=True)
def fresh() -> None:
    gauge.__init__()  # type: ignore[misc]


@pytest.fixture
async def env() -> AsyncIterator[TestEnvironment]:
    async with TestEnvironment.in_memory() as environment:
        yield environment


@workflow(name="queued", concurrency=Concurrency(1, key=lambda order: order.customer))
async def queued(ctx: Context, order: Order) -> int:
    return await gauge.body(ctx, order)


@workflow(name="three", concurrency=3)
async def three(ctx: Context, order: Order) -> int:
    return await gauge.body(ctx, order)


@workflow(name="rejecting", concurrency=Concurrency(1, key=lambda order: order.customer), on_limit="reject")
async def rejecting(ctx: Context, order: Order) -> int:
    return await gauge.body(ctx, order)


@workflow(name="single", concurrency=Concurrency(1, key=lambda order: order.customer), on_limit="return_existing")
async def single(ctx: Context, order: Order) -> int:
    return await gauge.body(ctx, order)


@workflow(name="latest", concurrency=Concurrency(1, key=lambda order: order.customer), on_limit="cancel_previous")
async def latest(ctx: Context, order: Order) -> int:
    return await gauge.body(ctx, order)


@workflow(name="parent")
async def parent(ctx: Context, orders: list[Order]) -> list[int]:
    return list(await asyncio.gather(*(queued.run(ctx, order) for order in orders)))


@workflow(name="parent-of-rejecting")
async def parent_of_rejecting(ctx: Context, orders: list[Order]) -> list[int]:
    return list(await asyncio.gather(*(rejecting.run(ctx, order) for order in orders)))


ALL = (queued, three, rejecting, single, latest, parent, parent_of_rejecting)


async def results(handles: list[RunHandle[int]]) -> list[int]:
    return list(await asyncio.gather(*(handle.wait_for_completion() for handle in handles)))


async def in_order(env: TestEnvironment, count: int) -> list[RunHandle[int]]:
    handles = []
    for number in range(count):
        handles.append(await queued.enqueue(env.client, Order("a", number)))
        await settled(env)
    return handles


async def settled(env: TestEnvironment) -> None:
    await env.advance(1)


async def test_one_run_of_each_key_at_a_time(env: TestEnvironment) -> None:
    await env.worker(*ALL)
    await env.worker(*ALL)
    handles = []
    for number in range(12):
        handles.append(await queued.enqueue(env.client, Order("abc"[number % 3], number)))
        await env.advance(0.1)
    assert await results(handles) == list(range(12))
    assert gauge.most == {"all": 3, "a": 1, "b": 1, "c": 1}
    for customer in range(3):
        assert [number for number in gauge.began if number % 3 == customer] == list(range(customer, 12, 3))


async def test_so_many_runs_in_all(env: TestEnvironment) -> None:
    await env.worker(*ALL)
    handles = [await three.enqueue(env.client, Order("a", number)) for number in range(10)]
    assert await results(handles) == list(range(10))
    assert gauge.most["all"] == 3


async def test_who_waits_shows_as_queued_and_says_for_whom(env: TestEnvironment) -> None:
    await env.worker(*ALL)
    first, second, third = await in_order(env, 3)
    status = await third.get_status()
    assert status.state == "queued"
    assert status.waiting_on == (f"a place among the runs of queued with key 'a': {first.id} under way, 1 before it",)
    view = await second.describe()
    assert [wait.kind for wait in view.waits] == ["place"]
    assert {run.id async for run in env.client.runs(state="queued")} == {second.id, third.id}
    assert await results([first, second, third]) == [0, 1, 2]


async def test_the_highest_priority_comes_first(env: TestEnvironment) -> None:
    await env.worker(*ALL)
    handles = [await queued.enqueue(env.client, Order("a", 0))]
    await settled(env)
    for number, priority in enumerate((0, 5, 9, 5, 0), start=1):
        handles.append(await queued.enqueue(env.client, Order("a", number), priority=priority))
        await settled(env)
    await results(handles)
    assert gauge.began == [0, 3, 2, 4, 1, 5]


async def test_who_waits_is_cancelled_at_once(env: TestEnvironment) -> None:
    await env.worker(*ALL)
    first, second, third = await in_order(env, 3)
    await second.cancel("not needed")
    with pytest.raises(WorkflowCancelled, match="not needed"):
        await second.wait_for_completion(timeout=1)
    assert await results([first, third]) == [0, 2]
    assert gauge.began == [0, 2]


async def test_a_run_that_is_cancelled_unstarted_takes_no_place(env: TestEnvironment) -> None:
    first, second = [await queued.enqueue(env.client, Order("a", number)) for number in range(2)]
    await first.cancel()
    await env.worker(*ALL)
    assert await second.wait_for_completion() == 1


async def test_what_is_beyond_the_limit_is_refused(env: TestEnvironment) -> None:
    await env.worker(*ALL)
    first = await rejecting.enqueue(env.client, Order("a", 1))
    with pytest.raises(LimitReached) as caught:
        await rejecting.enqueue(env.client, Order("a", 2))
    assert caught.value.run_ids == (first.id,)
    other = await rejecting.enqueue(env.client, Order("b", 3))
    assert await results([first, other]) == [1, 3]
    assert await (await rejecting.enqueue(env.client, Order("a", 4))).wait_for_completion() == 4
    assert gauge.began == [1, 3, 4]


async def test_a_refused_start_is_refused_without_any_worker(env: TestEnvironment) -> None:
    first = await rejecting.enqueue(env.client, Order("a", 1))
    with pytest.raises(LimitReached):
        await rejecting.enqueue(env.client, Order("a", 2))
    await first.terminate()
    await rejecting.enqueue(env.client, Order("a", 3))
    assert [run.state async for run in env.client.runs()].count("queued") == 1


async def test_of_many_starts_at_once_one_becomes_the_run(env: TestEnvironment) -> None:
    await env.worker(*ALL)
    handles = await asyncio.gather(*(single.enqueue(env.client, Order("a", number)) for number in range(20)))
    assert len({handle.id for handle in handles}) == 1
    assert len(set(await results(handles))) == 1
    assert len(gauge.began) == 1
    again = await single.enqueue(env.client, Order("a", 99))
    assert again.id != handles[0].id
    assert await again.wait_for_completion() == 99


async def test_a_key_finds_its_run_also_when_the_limit_is_reached(env: TestEnvironment) -> None:
    await env.worker(*ALL)
    first = await rejecting.enqueue(env.client, Order("a", 1), idempotency_key="k")
    again = await rejecting.enqueue(env.client, Order("a", 1), idempotency_key="k")
    assert first.id == again.id
    with pytest.raises(LimitReached):
        await rejecting.enqueue(env.client, Order("a", 1), idempotency_key="l")
    await first.wait_for_completion()
    assert (await rejecting.enqueue(env.client, Order("a", 1), idempotency_key="k")).id == first.id


async def test_the_place_of_a_client_that_died_is_free_after_a_while(env: TestEnvironment) -> None:
    await env.worker(*ALL)

    async def die(*_: object, **__: object) -> bool:
        raise asyncio.CancelledError

    dying = Client(env.client.transport, clock=env.client.clock, reads_server_clock=False)
    dying.send_start = die  # type: ignore[method-assign]
    with pytest.raises(asyncio.CancelledError):
        await rejecting.enqueue(dying, Order("a", 1))
    with pytest.raises(LimitReached):
        await rejecting.enqueue(env.client, Order("a", 2))
    await env.advance(timedelta(minutes=2))
    assert await (await rejecting.enqueue(env.client, Order("a", 3))).wait_for_completion() == 3
    with pytest.raises(asyncio.CancelledError):
        await single.enqueue(dying, Order("a", 4))
    assert await (await single.enqueue(env.client, Order("a", 5))).wait_for_completion() == 5


async def test_the_newest_takes_the_place_of_those_before_it(env: TestEnvironment) -> None:
    await env.worker(*ALL)
    handles = []
    for number in range(4):
        handles.append(await latest.enqueue(env.client, Order("a", number)))
        await settled(env)
    for handle in handles[:3]:
        with pytest.raises(WorkflowCancelled, match="has taken its place"):
            await handle.wait_for_completion()
    assert await handles[3].wait_for_completion() == 3
    assert gauge.most["a"] == 1


async def test_children_wait_or_are_refused(env: TestEnvironment) -> None:
    await env.worker(*ALL)
    handle = await parent.enqueue(env.client, [Order("a", number) for number in range(4)])
    assert await handle.wait_for_completion() == [0, 1, 2, 3]
    assert gauge.most["a"] == 1
    refused = await parent_of_rejecting.enqueue(env.client, [Order("a", 1), Order("a", 2)])
    with pytest.raises(WorkflowFailed, match="under way already"):
        await refused.wait_for_completion()


async def test_delayed_starts_and_schedules_keep_the_limit(env: TestEnvironment) -> None:
    await env.worker(*ALL)
    handles = [await queued.enqueue(env.client, Order("a", number), trigger=Trigger.after(10 - number)) for number in range(3)]
    schedule = await queued.schedule(env.client, Schedule.every(timedelta(seconds=5), overlap="allow"), Order("a", 9), id="often")
    await env.advance(30)
    await schedule.delete()
    assert await results(handles) == [0, 1, 2]
    assert gauge.most["a"] == 1
    waiting = [run.id async for run in env.client.runs(workflow="queued")]
    assert await results([queued.handle(env.client, run_id) for run_id in waiting]) != []
    assert gauge.most["a"] == 1


async def test_a_run_that_is_retried_goes_on_beside_the_one_that_has_its_place(env: TestEnvironment) -> None:
    await env.worker(*ALL)
    first = await queued.enqueue(env.client, Order("a", 1))
    await settled(env)
    await first.cancel()
    with pytest.raises(WorkflowCancelled):
        await first.wait_for_completion()
    second = await queued.enqueue(env.client, Order("a", 2))
    await settled(env)
    await first.retry()
    third = await queued.enqueue(env.client, Order("a", 3))
    await settled(env)
    assert (await third.get_status()).state == "queued"
    assert await results([first, second, third]) == [1, 2, 3]
    line = await env.client.lines.read("queued", "a")
    assert line is None or line.empty


async def test_a_run_whose_key_is_none_fails_or_is_refused(env: TestEnvironment) -> None:
    @workflow(name="keyless", concurrency=Concurrency(1, key=lambda order: order.missing))
    async def keyless(ctx: Context, order: Order) -> int:
        return 0

    with pytest.raises(AttributeError):
        await keyless.enqueue(env.client, Order("a"))
    await env.worker(keyless)
    handle = await env.client.start_run("keyless", "1.0.0", b'{"customer":"a"}', keyless.output_schema)
    with pytest.raises(WorkflowFailed, match="missing"):
        await handle.wait_for_completion()
    assert [run.state async for run in env.client.runs()] == ["failed"]


def test_declarations_that_cannot_work() -> None:
    async def code(ctx: Context) -> None: ...

    with pytest.raises(DefinitionError, match="on_limit"):
        Workflow(code, on_limit="never")  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match="needs a limit"):
        Workflow(code, on_limit="reject")
    with pytest.raises(DefinitionError, match="from 1"):
        Workflow(code, concurrency=0)


async def test_priorities_that_cannot_be(env: TestEnvironment) -> None:
    with pytest.raises(DefinitionError, match="an integer from 0"):
        await queued.enqueue(env.client, Order("a"), priority=10)
    with pytest.raises(DefinitionError, match="has none"):
        await parent.enqueue(env.client, [], priority=1)
