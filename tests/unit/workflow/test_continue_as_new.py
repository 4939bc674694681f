"""Runs that continue as new: the same run, with a new input and an empty journal."""

import asyncio
from typing import Any

import pytest

from aiki.sdk import Context, DefinitionError, PayloadError, Variables, WorkflowFailed, event, task, workflow
from aiki.testing import TestEnvironment

coin = event("coin", int)


def counting(seen: list[Any]):  # type: ignore[no-untyped-def]
    @task(name="note")
    async def note(text: str) -> str:
        seen.append(text)
        return text

    @workflow(name="purse")
    async def purse(ctx: Context, total: int) -> int:
        for _ in range(3):
            total += await ctx.wait_for(coin)
            await note.run(ctx, "the same text")
        if total < 100:
            await ctx.continue_as_new(total)
        return total

    return purse, note


async def test_events_go_on_and_steps_run_anew() -> None:
    seen: list[Any] = []
    purse, note = counting(seen)
    async with TestEnvironment.in_memory() as env:
        await env.worker(purse, note)
        handle = await purse.enqueue(env.client, 0)
        for number in range(12):
            await handle.send(coin, 9, idempotency_key=str(number))
            await handle.send(coin, 9, idempotency_key=str(number))
        assert await handle.wait_for_completion() == 108
        view = await handle.describe()
        assert (view.generation, len(view.steps), len(seen)) == (3, 3, 12)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(1, 20, 2))
async def test_whatever_dies(when: str, number: int) -> None:
    seen: list[Any] = []
    purse, note = counting(seen)
    async with TestEnvironment.in_memory(always_replay=number % 4 == 1) as env:
        await env.worker(purse, note)
        (env.crash_before_commit if when == "before" else env.crash_after_commit)(number, restart=True)
        handle = await purse.enqueue(env.client, 0)
        for number in range(12):
            await handle.send(coin, 9, idempotency_key=str(number))
        assert await handle.wait_for_completion() == 108
        assert (await handle.describe()).generation == 3


async def test_long_generations_leave_no_segments() -> None:
    @task(name="write", local=True)
    async def write(number: int) -> str:
        return "x" * 1000

    @workflow(name="log")
    async def log(ctx: Context, number: int) -> int:
        for _ in range(100):
            await write.run(ctx, number)
        if number < 3:
            await ctx.continue_as_new(number + 1)
        await ctx.sleep(60)
        return number

    async with TestEnvironment.in_memory() as env:
        await env.worker(log, write)
        handle = await log.enqueue(env.client, 0)
        await asyncio.sleep(30)
        keys = [key for key in await env.client.store.keys() if key.startswith(handle.id)]
        state, _ = await env.client.load(handle.id) or (None, 0)
        assert state is not None
        assert state.base == 3 * 100 + 2
        assert len(await env.client.history(state)) == 101
        transport, subjects = env.client.transport, env.client.subjects
        stored = await transport.subjects(subjects.runs_stream, f"{subjects.runs_prefix}{handle.id}.>")
        assert len(stored) == len(state.sealed) > 1
        assert keys == [handle.id]
        assert await handle.wait_for_completion() == 3


async def test_children_and_tasks_that_are_outstanding() -> None:
    ended: list[str] = []

    @task(name="slow")
    async def slow(number: int) -> int:
        await asyncio.sleep(3600)
        return number

    @workflow(name="child")
    async def child(ctx: Context, name: str) -> str:
        try:
            await ctx.sleep(100)
        finally:
            ended.append(f"{name} {ctx.now().timestamp() % 1000:.0f}")
        return name

    @workflow(name="parent")
    async def parent(ctx: Context, number: int) -> str:
        if number:
            assert ctx.generation == 1
            return await child.run(ctx, "last")
        slow_one = asyncio.create_task(slow.run(ctx, 1))
        children = [await child.start(ctx, "cancelled"), await child.start(ctx, "abandoned", close="abandon")]
        await ctx.sleep(10)
        assert len(children) == 2 and not slow_one.done()
        return await ctx.continue_as_new(1)

    async with TestEnvironment.in_memory() as env:
        await env.worker(parent, child, slow)
        handle = await parent.enqueue(env.client, 0)
        assert await handle.wait_for_completion() == "last"
        runs = {run.id: run async for run in env.client.runs(workflow="child")}
        assert sorted(run.state for run in runs.values()) == ["cancelled", "completed", "completed"]
        state, _ = await env.client.load(handle.id) or (None, 0)
        assert state is not None
        assert state.pending == []


async def test_hooks_chance_and_what_is_refused() -> None:
    said: list[Any] = []

    @workflow(name="dice")
    async def dice(ctx: Context, number: int) -> float:
        said.append((ctx.generation, ctx.random()))
        if number == 1:
            async with ctx.saga():
                await ctx.continue_as_new(2)
        if number == 3:
            await ctx.continue_as_new("four")
        if not number:
            await ctx.continue_as_new(5)
        return number

    @dice.on_start
    async def started(ctx: Context, info: Any) -> None:
        said.append("started")

    async with TestEnvironment.in_memory() as env:
        await env.worker(dice)
        handle = await dice.enqueue(env.client, 0)
        assert await handle.wait_for_completion() == 5
        assert [each for each in said if each == "started"] == ["started"]
        assert len({each for each in said if each != "started"}) == 2
        for number, kind in ((1, DefinitionError), (3, PayloadError)):
            with pytest.raises(WorkflowFailed) as failure:
                await (await dice.enqueue(env.client, number)).wait_for_completion()
            assert failure.value.error is not None
            assert failure.value.error.type.endswith(kind.__name__)


async def test_an_update_whose_handler_is_at_work_is_answered_by_the_next_generation() -> None:
    @workflow(name="ledger")
    async def ledger(ctx: Context, number: int) -> int:
        if number:
            await ctx.sleep(1000)
            return number
        await ctx.sleep(60)
        return await ctx.continue_as_new(1)

    @ledger.update("book")
    async def book(state: Variables, amount: int) -> int:
        await asyncio.sleep(300)
        return amount

    async with TestEnvironment.in_memory() as env:
        await env.worker(ledger)
        handle = await ledger.enqueue(env.client, 0)
        await asyncio.sleep(30)
        assert await handle.update("book", 7) == 7
        assert (await handle.describe()).generation == 1
        assert await handle.wait_for_completion() == 1
