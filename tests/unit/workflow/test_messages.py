"""What is said to runs and what they say, feature by feature, on the engine in virtual time."""

import asyncio
import contextlib
from datetime import timedelta
from typing import Any

import pytest

from aiki.sdk import (
    ChildFailed,
    Context,
    EventTimeout,
    HookInfo,
    PayloadError,
    QueryFailed,
    Retry,
    RunEnded,
    TaskCancelled,
    UnknownEvent,
    UpdateFailed,
    Variables,
    WorkflowCancelled,
    WorkflowFailed,
    event,
    task,
    workflow,
)
from aiki.testing import TestEnvironment

DAY = timedelta(days=1)
apple, pear = event("apple", int), event("pear", int)


@task(name="work")
async def work(number: int) -> int:
    return number


async def test_events_of_any_and_of_all_names_and_none_in_time() -> None:
    @workflow(name="basket", events=[apple, pear])
    async def basket(ctx: Context) -> list[Any]:
        with pytest.raises(EventTimeout):
            await ctx.wait_for(apple, timeout=DAY)
        which, number = await ctx.wait_for_any(apple, pear)
        return [which.name, number, *await ctx.wait_for_all(apple, pear, timeout=DAY)]

    async with TestEnvironment.in_memory() as env:
        await env.worker(basket)
        handle = await basket.enqueue(env.client)
        for hours, fruit, number in ((48, pear, 1), (49, pear, 2), (50, apple, 3)):
            env.after(timedelta(hours=hours)).send(handle, fruit, number)
        with pytest.raises(UnknownEvent):
            await handle.send(event("plum", int), 1)
        with pytest.raises(PayloadError):
            await handle.send(pear, "one")  # type: ignore[misc]
        assert await handle.wait_for_completion() == ["pear", 1, 3, 2]


async def test_events_that_come_early_are_kept_and_keys_count_once() -> None:
    @workflow(name="late")
    async def late(ctx: Context) -> list[int]:
        await ctx.sleep(DAY)
        return [await ctx.wait_for(apple), await ctx.wait_for(apple)]

    async with TestEnvironment.in_memory() as env:
        await env.worker(late)
        handle = await late.enqueue(env.client)
        for number in (1, 2):
            for _ in range(3):
                await handle.send(apple, number, idempotency_key=str(number))
        assert await handle.wait_for_completion() == [1, 2]


async def test_runs_send_and_cancel_each_other() -> None:
    @workflow(name="waits")
    async def waits(ctx: Context) -> int:
        return await ctx.wait_for(apple)

    @workflow(name="tells")
    async def tells(ctx: Context, runs: list[str]) -> None:
        await ctx.send(runs[0], apple, 7)
        await ctx.cancel(runs[1], "no need")

    async with TestEnvironment.in_memory() as env:
        await env.worker(waits, tells)
        told, cancelled = [await waits.enqueue(env.client) for _ in range(2)]
        await env.run(tells, [str(told.id), str(cancelled.id)])
        assert await told.wait_for_completion() == 7
        with pytest.raises(WorkflowCancelled, match="no need"):
            await cancelled.wait_for_completion()


async def test_a_cancelled_run_cleans_up_and_a_terminated_one_does_not() -> None:
    cleaned = []

    @workflow(name="tidy")
    async def tidy(ctx: Context) -> None:
        try:
            await ctx.sleep(30 * DAY)
        finally:
            await work.run(ctx, 1)
            await ctx.step("clean", lambda: cleaned.append(ctx.run_id))

    async with TestEnvironment.in_memory() as env:
        await env.worker(tidy, work)
        ends = []
        for end in ("cancel", "terminate"):
            handle = await tidy.enqueue(env.client)
            getattr(env.after(DAY), end)(handle, "enough")
            with pytest.raises(WorkflowCancelled, match="enough"):
                await handle.wait_for_completion()
            with pytest.raises(RunEnded):
                await handle.cancel()
            ends.append(handle.id)
        assert cleaned == ends[:1]


async def test_a_task_is_cancelled_by_name() -> None:
    @workflow(name="patient")
    async def patient(ctx: Context) -> str:
        try:
            await work.run(ctx, 1)
        except TaskCancelled as error:
            return str(error)
        return "done"

    async with TestEnvironment.in_memory() as env:

        async def slow(number: int) -> int:
            return await asyncio.sleep(86_400, number)

        env.stub(work, slow)
        await env.worker(patient)
        handle = await patient.enqueue(env.client)
        env.after(60).do(lambda: handle.cancel_task("work", "too slow"))
        assert "too slow" in await handle.wait_for_completion()


async def test_queries_updates_and_what_a_run_publishes() -> None:
    @workflow(name="till")
    async def till(ctx: Context) -> int:
        taken: list[int] = []
        closed = asyncio.Event()
        await ctx.publish("open")
        await closed.wait()
        return sum(taken)

    @till.query("total")
    def total(state: Variables) -> int:
        return sum(state.taken)

    @till.update("take")
    async def take(state: Variables, amount: int) -> int:
        if amount < 0:
            raise ValueError("no debts")
        if amount == 0:
            state.closed.set()
        state.taken.append(await work.run(state.ctx, amount))
        await state.ctx.publish(len(state.taken))
        return len(state.taken)

    async with TestEnvironment.in_memory() as env:
        await env.worker(till, work)
        handle = await till.enqueue(env.client)
        assert await handle.update("take", 5) == 1
        assert await handle.update("take", 6) == 2
        assert await handle.query("total") == 11
        with pytest.raises(UpdateFailed, match="no debts"):
            await handle.update("take", -1)
        with pytest.raises(QueryFailed):
            await handle.query("average")
        async for update in handle.updates():
            assert update.data == 2
            break


async def test_hooks_run_at_their_occasions() -> None:
    seen: list[str] = []

    @workflow(name="hooked")
    async def hooked(ctx: Context, ending: str) -> str:
        await ctx.sleep(DAY)
        if ending == "error":
            raise ValueError("as told")
        return ending

    async def note(ctx: Context, info: HookInfo) -> None:
        await ctx.step(f"note {info.occasion}", lambda: seen.append(info.occasion))

    for occasion in (hooked.on_start, hooked.on_sleep, hooked.on_complete, hooked.on_error, hooked.on_cancel):
        occasion(note)
    async with TestEnvironment.in_memory() as env:
        await env.worker(hooked)
        assert await env.run(hooked, "fine") == "fine"
        with pytest.raises(WorkflowFailed):
            await env.run(hooked, "error")
        handle = await hooked.enqueue(env.client, "cancelled")
        env.after(60).cancel(handle)
        with pytest.raises(WorkflowCancelled):
            await handle.wait_for_completion()
    begin = ["on_start", "on_sleep"]
    assert seen == [*begin, "on_complete", *begin, "on_error", *begin, "on_cancel"]


async def test_children_are_described_and_their_failures_are_told() -> None:
    @workflow(name="part")
    async def part(ctx: Context, number: int) -> int:
        if number < 0:
            raise ValueError("negative")
        return number * 2

    @workflow(name="whole")
    async def whole(ctx: Context) -> list[Any]:
        handle = await part.start(ctx, 2, idempotency_key="two")
        try:
            await part.run(ctx, -1)
        except ChildFailed as error:
            return [await handle, handle.id, error.run_id]
        return []

    async with TestEnvironment.in_memory() as env:
        await env.worker(whole, part)
        handle = await whole.enqueue(env.client)
        result, child, failed = await handle.wait_for_completion()
        assert result == 4
        view = await handle.describe()
        assert sorted(step.name for step in view.steps) == ["part", "part"]
        assert (await part.handle(env.client, child).get_status()).state == "completed"
        assert (await part.handle(env.client, failed).get_status()).state == "failed"


@pytest.mark.parametrize("keyed", [False, True])
async def test_an_attempt_starts_a_failed_child_anew_but_the_run_of_a_key_is_that_run(keyed: bool) -> None:
    tries: list[int] = []

    @workflow(name="kid")
    async def kid(ctx: Context) -> int:
        await ctx.step("try", lambda: tries.append(1))
        if len(tries) == 1:
            raise ValueError("the first time")
        return 7

    @workflow(name="parent", retry=Retry.fixed(max_attempts=2, delay=1))
    async def parent(ctx: Context) -> int:
        return await kid.run(ctx, idempotency_key="k" if keyed else None)

    async with TestEnvironment.in_memory() as env:
        await env.worker(kid, parent)
        if keyed:
            with pytest.raises(WorkflowFailed, match="ChildFailed"):
                await env.run(parent)
        else:
            assert await env.run(parent) == 7


@pytest.mark.parametrize("ending", ["returns", "raises", "continues"])
async def test_a_child_that_is_started_at_the_very_end_outlives_its_parent(ending: str) -> None:
    @workflow(name="heir")
    async def heir(ctx: Context, number: int) -> int:
        await ctx.sleep(5)
        return number

    @workflow(name="testator")
    async def testator(ctx: Context, number: int) -> str:
        if number:
            return "continued"
        child = await heir.start(ctx, 7, close="abandon")
        if ending == "continues":
            await ctx.continue_as_new(1)
        if ending == "raises":
            raise ValueError(child.id)
        return child.id

    async with TestEnvironment.in_memory() as env:
        await env.worker(testator, heir)
        handle = await testator.enqueue(env.client, 0)
        with contextlib.suppress(WorkflowFailed):
            await handle.wait_for_completion()
        await env.advance(10)
        (run,) = [run async for run in env.client.runs(workflow="heir")]
        assert run.state == "completed"
