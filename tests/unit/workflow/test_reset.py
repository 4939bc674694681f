"""Runs that go back to a step, and runs that begin with the journal of another one."""

import asyncio
from typing import Any

import pytest

from aiki.sdk import Client, Context, RunHandle, RunId, RunNotFound, StepNotFound, WorkflowFailed, event, task, workflow
from aiki.testing import TestEnvironment

stamped = event("stamped", int)


class Office:
    """What the tasks do, and how often."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.price = 10

    def definitions(self) -> tuple[Any, ...]:
        @task(name="quote")
        async def quote(number: int) -> int:
            self.calls.append("quote")
            return self.price * number

        @task(name="pay")
        async def pay(amount: int) -> str:
            self.calls.append("pay")
            if amount < 0:
                raise ValueError("negative")
            return f"paid {amount}"

        @workflow(name="leaf")
        async def leaf(ctx: Context, amount: int) -> str:
            self.calls.append("leaf")
            return ctx.run_id

        @workflow(name="trip")
        async def trip(ctx: Context, number: int) -> dict[str, Any]:
            began = ctx.now()
            await ctx.sleep(3600)
            amount = await quote.run(ctx, number)
            stamp = await ctx.wait_for(stamped)
            paid = await pay.run(ctx, amount)
            child = await leaf.run(ctx, amount)
            await ctx.publish({"paid": paid})
            return {"paid": paid, "stamp": stamp, "child": child, "took": (ctx.now() - began).total_seconds(), "chance": ctx.random()}

        return trip, leaf, quote, pay


async def run_to_end(env: TestEnvironment, trip: Any, number: int = 3) -> RunHandle[dict[str, Any]]:
    handle: RunHandle[dict[str, Any]] = await trip.enqueue(env.client, number)
    await handle.send(stamped, 5)
    return handle


@pytest.mark.parametrize("always_replay", [False, True])
async def test_a_completed_run_goes_back(always_replay: bool) -> None:
    office = Office()
    trip, *others = office.definitions()
    async with TestEnvironment.in_memory(always_replay=always_replay) as env:
        await env.worker(trip, *others)
        handle = await run_to_end(env, trip)
        first = await handle.wait_for_completion()
        office.price = 20
        await handle.reset("pay", reason="once more")
        assert (await handle.get_status()).state != "completed"
        second = await handle.wait_for_completion()
        assert (second["paid"], second["stamp"], second["chance"]) == ("paid 30", 5, first["chance"])
        assert second["child"] != first["child"]
        assert second["took"] < 3700
        await handle.reset("quote")
        third = await handle.wait_for_completion()
        assert third["paid"] == "paid 60"
        assert office.calls == ["quote", "pay", "leaf", "pay", "leaf", "quote", "pay", "leaf"]
        view = await handle.describe()
        assert [message.what for message in view.messages if message.what == "reset"] == ["reset"]
        assert [each.data async for each in handle.updates()] == [{"paid": "paid 60"}]


async def test_a_failed_run_and_what_is_refused() -> None:
    office = Office()
    trip, *others = office.definitions()
    async with TestEnvironment.in_memory() as env:
        await env.worker(trip, *others)
        handle = await run_to_end(env, trip, -1)
        with pytest.raises(WorkflowFailed, match="negative"):
            await handle.wait_for_completion()
        office.price = -10
        with pytest.raises(StepNotFound, match="there are: pay, quote"):
            await handle.reset("leaf")
        with pytest.raises(StepNotFound, match="quote, call 2"):
            await handle.reset("quote", call=2)
        view = await handle.describe()
        await handle.reset(next(step for step in view.steps if step.name == "quote"))
        assert (await handle.wait_for_completion())["paid"] == "paid 10"


async def test_a_run_that_goes_on_goes_back_whatever_it_waits_for() -> None:
    office = Office()
    trip, *others = office.definitions()
    async with TestEnvironment.in_memory() as env:
        await env.worker(trip, *others)
        handle: RunHandle[dict[str, Any]] = await trip.enqueue(env.client, 3)
        await asyncio.sleep(4000)
        assert (await handle.get_status()).state == "awaiting_event"
        office.price = 1
        await handle.reset("quote")
        await handle.send(stamped, 6)
        assert (await handle.wait_for_completion())["paid"] == "paid 3"
        assert office.calls.count("quote") == 2


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(1, 6))
async def test_whatever_dies(when: str, number: int) -> None:
    office = Office()
    trip, *others = office.definitions()
    async with TestEnvironment.in_memory() as env:
        await env.worker(trip, *others)
        handle: RunHandle[dict[str, Any]] = await trip.enqueue(env.client, 3)
        await asyncio.sleep(4000)
        office.price = 1
        crash = (env.crash_before_commit if when == "before" else env.crash_after_commit)(number, restart=True)
        await handle.reset("quote")
        await handle.send(stamped, 6)
        assert (await handle.wait_for_completion())["paid"] == "paid 3"
        assert crash.happened


async def test_forks() -> None:
    office = Office()
    trip, *others = office.definitions()

    @workflow(name="trip", version="2.0.0")
    async def newer(ctx: Context, number: int) -> str:
        quote = others[1]
        await ctx.sleep(3600)
        return f"newer {await quote.run(ctx, number)} {ctx.random()}"

    async with TestEnvironment.in_memory() as env:
        await env.worker(trip, *others, newer)
        handle = await run_to_end(env, trip)
        first = await handle.wait_for_completion()
        office.price = 20
        fork = await handle.fork(to_step="pay", idempotency_key="f")
        assert fork.id != handle.id
        assert (await handle.fork(to_step="pay", idempotency_key="f")).id == fork.id
        second = await fork.wait_for_completion()
        assert (second["paid"], second["chance"]) == ("paid 30", first["chance"])
        mended = await handle.fork(newer)
        assert await mended.wait_for_completion() == f"newer 30 {first['chance']}"
        other: RunHandle[dict[str, Any]] = await handle.fork(to_step="pay", payload=7)
        assert (await other.wait_for_completion())["paid"] == "paid 140"
        assert (await handle.wait_for_completion()) == first
        with pytest.raises(StepNotFound):
            await handle.fork(to_step="nothing")


async def test_many() -> None:
    office = Office()
    trip, *others = office.definitions()
    async with TestEnvironment.in_memory() as env:
        await env.worker(trip, *others)
        handles = [await run_to_end(env, trip, -1) for _ in range(5)]
        for handle in handles:
            with pytest.raises(WorkflowFailed):
                await handle.wait_for_completion()
        office.price = -1
        counted: list[int] = []
        client: Client = env.client
        report = await client.reset_many(workflow="trip", to_step="quote", progress=counted.append)
        assert report == dict.fromkeys([handle.id for handle in handles], "reset")
        assert counted == [1, 2, 3, 4, 5]
        for handle in handles:
            assert (await handle.wait_for_completion())["paid"] == "paid 1"
        for _ in range(2):
            forks = await client.fork_many([handles[0].id, "c" * 26], to_step="quote", idempotency_key="again")
            fork = forks[handles[0].id]
            assert isinstance(fork, RunHandle)
            assert isinstance(forks[RunId("c" * 26)], RunNotFound)
            assert (await fork.wait_for_completion())["paid"] == "paid 1"
        assert len([run async for run in client.runs(workflow="trip")]) == 6


async def test_a_long_journal_is_cut_and_its_segments_are_gone() -> None:
    written: list[int] = []

    @task(name="write", local=True)
    async def write(number: int) -> str:
        written.append(number)
        return "x" * 1000

    @workflow(name="log")
    async def log(ctx: Context) -> int:
        return len([await write.run(ctx, number) for number in range(200)])

    async with TestEnvironment.in_memory() as env:
        await env.worker(log, write)
        handle = await log.enqueue(env.client)
        assert await handle.wait_for_completion() == 200
        for call in (150, 20):
            written.clear()
            await handle.reset("write", call=call)
            assert await handle.wait_for_completion() == 200
            assert written == list(range(call - 1, 200))
            state, _ = await env.client.load(handle.id) or (None, 0)
            assert state is not None
            journal = await env.client.history(state)
            assert len(journal) == 200 + (call == 150) + (call == 20)
            transport, subjects = env.client.transport, env.client.subjects
            stored = await transport.subjects(subjects.runs_stream, f"{subjects.runs_prefix}{handle.id}.>")
            assert len(stored) == len(state.sealed) > 3
