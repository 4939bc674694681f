"""What a second call under the same key means: the table in `docs/guides/idempotency.md`, cell by cell, in memory and on a real server."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from aiki.actor import Actor
from aiki.sdk import (
    ActorContext,
    Client,
    Context,
    IdempotencyConflict,
    RunEnded,
    RunHandle,
    RunNotFound,
    Schedule,
    ScheduleConflict,
    ScheduleNotFound,
    Variables,
    WorkflowFailed,
    actor,
    event,
    handler,
    task,
    workflow,
)
from aiki.services.timer import TimerService
from aiki.testing import TestEnvironment

BRIEF = 2.0
"""Seconds for which runs are kept after their end."""

go = event("go", int)
bodies: list[int] = []


@task(name="charge")
async def charge(amount: int) -> int:
    bodies.append(amount)
    return amount


@workflow(name="waits", retention=BRIEF)
async def waits(ctx: Context, number: int) -> int:
    """Ends once it is told to, with what it was told."""
    booked: list[int] = []
    ctx.logger.debug("%s", booked)
    return await ctx.wait_for(go) + number


@waits.update("book")
async def book(state: Variables, amount: int) -> int:
    state.booked.append(amount)
    return sum(state.booked)


@workflow(name="pays", retention=BRIEF)
async def pays(ctx: Context, amounts: list[int]) -> list[int | str]:
    """Calls one task for each amount, all at a time and then one after another, under one key."""
    found: list[int | str] = []
    first = asyncio.create_task(charge.run(ctx, amounts[0], idempotency_key="c"))
    for amount in amounts[1:]:
        try:
            found.append(await charge.run(ctx, amount, idempotency_key="c"))
        except IdempotencyConflict as error:
            found.append(error.code)
    return [await first, *found]


@workflow(name="parent", retention=BRIEF)
async def parent(ctx: Context, number: int) -> int:
    return await (await waits.start(ctx, number, idempotency_key="k"))


@actor(name="tally")
class Tally(Actor):
    total: int = 0

    @handler
    async def add(self, ctx: ActorContext, amount: int) -> int:
        self.total += amount
        return self.total


@pytest.fixture(params=["in memory", "nats"])
async def env(request: pytest.FixtureRequest) -> AsyncIterator[TestEnvironment]:
    bodies.clear()
    async with TestEnvironment.in_memory() if request.param == "in memory" else TestEnvironment.nats() as made:
        await made.worker(waits, pays, parent, charge, Tally)
        yield made


async def begun(env: TestEnvironment, handle: RunHandle[Any]) -> None:
    """Until a worker has it."""
    while (await handle.get_status()).state != "awaiting_event":
        await env.advance(0.05)


async def ended(env: TestEnvironment, number: int = 1) -> RunHandle[int]:
    """The run of key k, which has ended."""
    handle = await waits.enqueue(env.client, number, idempotency_key="k")
    await handle.send(go, 10, idempotency_key="g")
    assert await handle.wait_for_completion(timeout=20) == number + 10
    return handle


async def gone(env: TestEnvironment, handle: RunHandle[Any]) -> None:
    """Until its retention is over."""
    while await env.client.load(handle.id) is not None:
        await env.advance(0.1)


async def runs(client: Client) -> int:
    return len([run async for run in client.runs(workflow="waits")])


# -- runs


async def test_runs_while_they_run(env: TestEnvironment) -> None:
    first = await waits.enqueue(env.client, 1, idempotency_key="k")
    await begun(env, first)
    assert (await waits.enqueue(env.client, 1, idempotency_key="k")).id == first.id
    with pytest.raises(IdempotencyConflict):
        await waits.enqueue(env.client, 2, idempotency_key="k")
    assert (await waits.enqueue(env.client, 2, idempotency_key="k", on_conflict="return_existing")).id == first.id
    assert await runs(env.client) == 1


async def test_runs_after_completion(env: TestEnvironment) -> None:
    handle = await waits.enqueue(env.client, 1, idempotency_key="k")
    await handle.send(go, 10)
    assert await handle.wait_for_completion(timeout=20) == 11
    again = await waits.enqueue(env.client, 1, idempotency_key="k")
    assert await again.wait_for_completion(timeout=20) == 11
    with pytest.raises(IdempotencyConflict):
        await waits.enqueue(env.client, 2, idempotency_key="k")


async def test_runs_after_retention(env: TestEnvironment) -> None:
    await gone(env, await ended(env, 1))
    assert await (await ended(env, 2)).wait_for_completion(timeout=20) == 12


# -- tasks


async def test_tasks_while_they_run(env: TestEnvironment) -> None:
    assert await env.run(pays, [5, 5, 6], timeout=20) == [5, 5, "idempotency_conflict"]
    assert bodies == [5]


async def test_tasks_after_completion(env: TestEnvironment) -> None:
    assert await env.run(pays, [5, 5, 5, 6, 5], timeout=20) == [5, 5, 5, "idempotency_conflict", 5]
    assert bodies == [5]


async def test_tasks_of_another_run(env: TestEnvironment) -> None:
    assert await env.run(pays, [5], timeout=20) == [5]
    assert await env.run(pays, [6], timeout=20) == [6]
    assert bodies == [5, 6]


# -- events


async def test_events_while_the_run_goes_on(env: TestEnvironment) -> None:
    @workflow(name="collects")
    async def collects(ctx: Context) -> list[int]:
        return [await ctx.wait_for(go) for _ in range(2)]

    worker = await env.worker(collects)
    handle = await collects.enqueue(env.client)
    await handle.send(go, 1, idempotency_key="a")
    await begun(env, handle)
    await handle.send(go, 1, idempotency_key="a")
    with pytest.raises(IdempotencyConflict):
        await handle.send(go, 2, idempotency_key="a")
    await handle.send(go, 3, idempotency_key="b")
    assert await handle.wait_for_completion(timeout=20) == [1, 3]
    await worker.stop()
    # No worker has it yet: what waits in the mailbox counts too.
    early = await collects.enqueue(env.client)
    await early.send(go, 1, idempotency_key="a")
    await early.send(go, 1, idempotency_key="a")
    with pytest.raises(IdempotencyConflict):
        await early.send(go, 2, idempotency_key="a")


async def test_events_after_completion(env: TestEnvironment) -> None:
    handle = await ended(env)
    await handle.send(go, 10, idempotency_key="g")
    with pytest.raises(IdempotencyConflict):
        await handle.send(go, 11, idempotency_key="g")
    with pytest.raises(RunEnded):
        await handle.send(go, 10, idempotency_key="new")


async def test_events_after_retention(env: TestEnvironment) -> None:
    handle = await ended(env)
    await gone(env, handle)
    with pytest.raises(RunNotFound):
        await handle.send(go, 10, idempotency_key="g")


# -- sub-workflows


async def test_children_while_they_run(env: TestEnvironment) -> None:
    child = await waits.enqueue(env.client, 1, idempotency_key="k")
    await begun(env, child)
    same, other = await parent.enqueue(env.client, 1), await parent.enqueue(env.client, 2)
    with pytest.raises(WorkflowFailed, match="another payload"):
        await other.wait_for_completion(timeout=20)
    await child.send(go, 10)
    assert await same.wait_for_completion(timeout=20) == 11
    assert await runs(env.client) == 1


async def test_children_after_completion(env: TestEnvironment) -> None:
    await ended(env)
    same, other = await parent.enqueue(env.client, 1), await parent.enqueue(env.client, 2)
    assert await same.wait_for_completion(timeout=20) == 11
    with pytest.raises(WorkflowFailed, match="another payload"):
        await other.wait_for_completion(timeout=20)


async def test_children_after_retention(env: TestEnvironment) -> None:
    await gone(env, await ended(env))
    again = await parent.enqueue(env.client, 2)
    child = waits.handle_by_key(env.client, "k")
    while await env.client.load(child.id) is None:
        await env.advance(0.05)
    await child.send(go, 20)
    assert await again.wait_for_completion(timeout=20) == 22


# -- updates


async def test_updates_while_the_run_goes_on(env: TestEnvironment) -> None:
    handle = await waits.enqueue(env.client, 1)
    await begun(env, handle)
    assert await handle.update("book", 5, idempotency_key="u", timeout=20) == 5
    assert await handle.update("book", 5, idempotency_key="u", timeout=20) == 5
    with pytest.raises(IdempotencyConflict):
        await handle.update("book", 6, idempotency_key="u", timeout=20)
    assert await handle.update("book", 6, timeout=20) == 11


async def test_updates_after_completion(env: TestEnvironment) -> None:
    handle = await waits.enqueue(env.client, 1)
    await begun(env, handle)
    assert await handle.update("book", 5, idempotency_key="u", timeout=20) == 5
    await handle.send(go, 10)
    await handle.wait_for_completion(timeout=20)
    assert await handle.update("book", 5, idempotency_key="u", timeout=20) == 5
    with pytest.raises(IdempotencyConflict):
        await handle.update("book", 6, idempotency_key="u", timeout=20)
    with pytest.raises(RunEnded):
        await handle.update("book", 5, idempotency_key="new", timeout=20)


async def test_updates_after_retention(env: TestEnvironment) -> None:
    handle = await ended(env)
    await gone(env, handle)
    with pytest.raises(RunNotFound):
        await handle.update("book", 5, idempotency_key="u", timeout=20)


# -- schedules


async def test_schedules_while_they_go_on(env: TestEnvironment) -> None:
    rule = Schedule.cron("0 0 1 1 *")
    await pays.schedule(env.client, rule, [1], id="yearly")
    same = await pays.schedule(env.client, rule, [1], id="yearly")
    with pytest.raises(ScheduleConflict):
        await pays.schedule(env.client, rule, [2], id="yearly")
    with pytest.raises(ScheduleConflict):
        await pays.schedule(env.client, Schedule.cron("0 0 2 1 *"), [1], id="yearly")
    await pays.schedule(env.client, rule, [2], id="yearly", on_conflict="return_existing")
    assert (await same.describe()).input == [1]


async def test_schedules_after_they_have_ended(env: TestEnvironment) -> None:
    async with TimerService(env.client):
        rule = Schedule.every(1, max_firings=1)
        schedule = await pays.schedule(env.client, rule, [1], id="once")
        while (await schedule.describe()).state != "finished":
            await env.advance(0.1)
        await pays.schedule(env.client, rule, [1], id="once")
        with pytest.raises(ScheduleConflict):
            await pays.schedule(env.client, rule, [2], id="once")
        await env.advance(1.5)
        assert (await schedule.describe()).counts["fired"] == 1


async def test_schedules_after_they_are_deleted(env: TestEnvironment) -> None:
    schedule = await pays.schedule(env.client, Schedule.cron("0 0 1 1 *"), [1], id="yearly")
    await schedule.delete()
    with pytest.raises(ScheduleNotFound):
        await schedule.describe()
    await pays.schedule(env.client, Schedule.cron("0 0 2 1 *"), [2], id="yearly")
    assert (await schedule.describe()).input == [2]


# -- actors


async def test_calls_of_actors(env: TestEnvironment) -> None:
    def tally(key: str | None = None) -> Any:
        return Tally.ref(env.client, "t", key=key)

    assert await tally("a").ask.add(5) == 5
    assert await tally("a").ask.add(5) == 5
    assert await tally("a").ask.add(6) == 5, "the key says that it is the same call, whatever its payload"
    assert await tally().ask.add(1) == 6


async def test_calls_of_actors_that_are_not_remembered_any_more() -> None:
    async with TestEnvironment.in_memory() as env:
        await env.worker(Tally)
        assert await Tally.ref(env.client, "t").ask.add(1) == 1
        assert await Tally.ref(env.client, "t", key="a").ask.add(5) == 6
        for number in range(520):
            await Tally.ref(env.client, "t", key=str(number)).ask.add(1)
        await env.advance(60)
        assert await Tally.ref(env.client, "t", key="a").ask.add(5) == 531, "it is applied once more"
