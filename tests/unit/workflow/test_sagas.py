"""Sagas, on the engine in virtual time: what is undone, when, in which order, and what another attempt does."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from aiki.client import RunHandle
from aiki.sdk import Context, DefinitionError, HookInfo, Retry, SagaFailed, TaskFailed, WorkflowCancelled, WorkflowFailed, task, workflow
from aiki.testing import TestEnvironment


class Receipt(msgspec.Struct):
    id: str


class World:
    """What was done and undone, and the tasks that do it; `broken` names steps that fail, and how often yet."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.broken: dict[str, int] = {}

        def note(what: str) -> None:
            if self.broken.get(what, 0) > 0:
                self.broken[what] -= 1
                raise ValueError(f"{what} fails")
            self.log.append(what)

        @task(name="charge")
        async def charge(item: str) -> Receipt:
            note(item)
            return Receipt(f"{item}#{self.log.count(item)}")

        @task(name="refund")
        async def refund(receipt: Receipt) -> None:
            note(f"-{receipt.id}")

        @task(name="release")
        async def release(item: str) -> None:
            note(f"-{item}")

        @task(name="slow")
        async def slow(item: str) -> Receipt:
            await asyncio.sleep(10)
            note(item)
            return Receipt(item)

        self.charge, self.refund, self.release, self.slow = charge, refund, release, slow
        self.tasks: list[Any] = [charge, refund, release, slow]


@pytest.fixture
def world() -> World:
    return World()


async def play(world: World, code: Callable[[Context], Any], *, replay: bool = False, crashes: int = 0, **options: Any) -> Any:
    """The result of the code as a workflow, or the error that it failed with."""

    @workflow(name="w", **options)
    async def flow(ctx: Context) -> Any:
        return await code(ctx)

    async with TestEnvironment.in_memory(always_replay=replay) as env:
        await env.worker(flow, *world.tasks)
        if crashes:
            env.crash_after_commit(crashes, restart=True)
        try:
            return await env.run(flow)
        except WorkflowFailed as error:
            return error.fields["error"]


async def test_a_saga_that_ends_well_undoes_nothing(world: World) -> None:
    async def code(ctx: Context) -> str:
        async with ctx.saga() as saga:
            receipt = await saga.run(world.charge, "a", undo=world.refund)
        return receipt.id

    assert await play(world, code) == "a#1"
    assert world.log == ["a"]


@pytest.mark.parametrize("replay", [False, True])
@pytest.mark.parametrize("crashes", range(12))
async def test_steps_are_undone_in_reverse_order_whatever_dies(world: World, crashes: int, replay: bool) -> None:
    async def code(ctx: Context) -> None:
        async with ctx.saga() as saga:
            await saga.run(world.charge, "a", undo=world.refund)
            await saga.run(world.charge, "b", undo=world.release)
            await saga.run(world.charge, "b", undo=lambda receipt: world.release.run(ctx, receipt.id))
            saga.add(lambda: world.release.run(ctx, "by hand"))
            await saga.run(world.charge, "c", undo=world.refund)

    world.broken = {"c": 1}
    error = await play(world, code, crashes=crashes, replay=replay)
    assert error.message.startswith("task 'charge' failed")
    assert world.log == ["a", "b", "b", "-by hand", "-b#2", "-b", "-a#1"]


async def test_parallel_steps_are_undone_in_reverse_order_of_their_completion(world: World) -> None:
    async def code(ctx: Context) -> None:
        async with ctx.saga() as saga:
            await asyncio.gather(saga.run(world.slow, "a", undo=world.release), saga.run(world.charge, "b", undo=world.release))
            raise ValueError("after all")

    assert (await play(world, code)).message == "after all"
    assert world.log == ["b", "a", "-a", "-b"]


async def test_what_is_under_way_when_another_step_fails_is_awaited_and_undone(world: World) -> None:
    async def code(ctx: Context) -> None:
        async with ctx.saga() as saga:
            await asyncio.gather(saga.run(world.slow, "a", undo=world.release), saga.run(world.charge, "b", undo=world.release))

    world.broken = {"b": 1}
    await play(world, code)
    assert world.log == ["a", "-a"]


async def test_an_uncertain_step_is_undone_by_its_payload(world: World) -> None:
    async def code(ctx: Context) -> None:
        async with ctx.saga() as saga:
            await saga.run(world.charge, "a", undo=world.release, undo_on_failure=True)

    world.broken = {"a": 1}
    await play(world, code)
    assert world.log == ["-a"]


async def test_what_cannot_be_undone_is_listed_and_the_rest_is_undone(world: World) -> None:
    seen: list[Any] = []

    async def code(ctx: Context) -> None:
        try:
            async with ctx.saga() as saga:
                for item in "abc":
                    await saga.run(world.charge, item, undo=world.release)
                raise KeyError("why")
        except SagaFailed as error:
            seen.append((error, error.__cause__))
            raise

    world.broken = {"-b": 1}
    told = await play(world, code)
    assert world.log == ["a", "b", "c", "-c", "-a"]
    error, cause = seen[-1]
    assert isinstance(cause, KeyError)
    assert error.error.type == "KeyError"
    assert [name for name, _ in error.failures] == ["charge"]
    assert (told.code, told.cause.type) == ("saga_failed", "KeyError")
    assert "-b fails" in told.message


async def test_another_attempt_does_again_what_was_undone(world: World) -> None:
    async def code(ctx: Context) -> list[str]:
        await world.charge.run(ctx, "before")
        async with ctx.saga() as saga:
            first = await saga.run(world.charge, "a", undo=world.refund)
            second = await saga.run(world.charge, "a", undo=world.refund, idempotency_key="k")
            await saga.run(world.charge, "b", undo=world.refund)
        return [first.id, second.id]

    world.broken = {"b": 2}
    assert await play(world, code, retry=Retry.fixed(max_attempts=3, delay=1)) == ["a#5", "a#6"]
    assert world.log == ["before", "a", "a", "-a#2", "-a#1", "a", "a", "-a#4", "-a#3", "a", "a", "b"]


async def test_another_attempt_keeps_a_saga_that_ended_well(world: World) -> None:
    async def code(ctx: Context) -> None:
        async with ctx.saga() as saga:
            await saga.run(world.charge, "a", undo=world.refund)
        await world.charge.run(ctx, "b")

    world.broken = {"b": 1}
    await play(world, code, retry=Retry.fixed(max_attempts=2, delay=1))
    assert world.log == ["a", "b"]


async def test_another_attempt_finishes_first_what_could_not_be_undone(world: World) -> None:
    async def code(ctx: Context) -> None:
        async with ctx.saga() as saga:
            await saga.run(world.charge, "a", undo=world.refund)
            await saga.run(world.charge, "b", undo=world.refund)

    world.broken = {"b": 1, "-a#1": 1}
    assert await play(world, code, retry=Retry.fixed(max_attempts=2, delay=1)) is None
    assert world.log == ["a", "-a#1", "a", "b"]


async def test_another_attempt_goes_on_where_a_time_out_left_off(world: World) -> None:
    """A time-out of the attempt does not ask the code: the next one finds steps that are done, and some that are undone."""

    async def code(ctx: Context) -> None:
        async with ctx.saga() as saga:
            await saga.run(world.charge, "a", undo=world.release)

            async def undo(receipt: Receipt) -> None:
                await world.release.run(ctx, "b")
                if ctx.attempt == 1:
                    await ctx.sleep(3600)
                await world.release.run(ctx, "b")

            await saga.run(world.charge, "b", undo=undo)
            await saga.run(world.charge, "c", undo=world.release)

    world.broken = {"c": 1}
    await play(world, code, retry=Retry.fixed(max_attempts=2, delay=1), timeout=60)
    assert world.log == ["a", "b", "-b", "-a", "a", "-b", "b", "c"]


async def cancelled(world: World, code: Callable[[Context], Any], *, after: float, **options: Any) -> None:
    @workflow(name="w", **options)
    async def flow(ctx: Context) -> Any:
        return await code(ctx)

    async with TestEnvironment.in_memory() as env:
        await env.worker(flow, *world.tasks)
        handle: RunHandle[Any] = await flow.enqueue(env.client)
        await env.advance(after)
        await handle.cancel("enough")
        with pytest.raises(WorkflowCancelled):
            await handle.wait_for_completion()


@pytest.mark.parametrize("inside", ["block", "gather", "group"])
@pytest.mark.parametrize("after", [5, 25])
async def test_a_cancelled_run_compensates(world: World, after: float, inside: str) -> None:
    """Also when it is cancelled while it compensates, and when the saga is in a task that others cancel."""

    async def book(ctx: Context) -> None:
        async with ctx.saga() as saga:
            await saga.run(world.charge, "a", undo=lambda receipt: world.slow.run(ctx, "-a"))
            await saga.run(world.charge, "b", undo=lambda receipt: world.slow.run(ctx, "-b"))
            await ctx.sleep(20)
            raise ValueError("too late")

    async def code(ctx: Context) -> None:
        if inside == "block":
            await book(ctx)
        elif inside == "gather":
            await asyncio.gather(book(ctx), ctx.sleep(1000))
        else:
            async with asyncio.TaskGroup() as group:
                group.create_task(book(ctx))
                group.create_task(asyncio.sleep(1000))

    await cancelled(world, code, after=after)
    assert world.log == ["a", "b", "-b", "-a"]


@pytest.mark.parametrize("limit", [5, 25])
async def test_a_time_out_in_the_code_compensates(world: World, limit: float) -> None:
    """Be it over in the block, or while that is compensated for another reason."""

    async def code(ctx: Context) -> None:
        async with asyncio.timeout(limit), ctx.saga() as saga:
            await saga.run(world.charge, "a", undo=lambda receipt: world.slow.run(ctx, "-a"))
            await ctx.sleep(20)
            raise ValueError("too late")

    assert (await play(world, code)).type == "TimeoutError"
    assert world.log == ["a", "-a"]


async def test_a_block_that_is_left_open_does_not_hold_the_run(world: World) -> None:
    async def code(ctx: Context) -> None:
        await ctx.saga().__aenter__()
        raise ValueError("left open")

    assert (await play(world, code)).message == "left open"


async def test_a_saga_in_a_hook_is_not_one_of_the_code(world: World) -> None:
    @workflow(name="w", retry=Retry.fixed(max_attempts=2, delay=1))
    async def flow(ctx: Context) -> None:
        async with ctx.saga() as saga:
            await saga.run(world.charge, "a", undo=world.refund)
        if ctx.attempt == 1:
            raise ValueError("again")

    @flow.on_start
    async def begins(ctx: Context, info: HookInfo) -> None:
        with contextlib.suppress(TaskFailed):
            async with ctx.saga() as saga:
                await saga.run(world.charge, "a", undo=world.refund)
                await world.charge.run(ctx, "b")

    async with TestEnvironment.in_memory() as env:
        world.broken = {"b": 1}
        await env.worker(flow, *world.tasks)
        await env.run(flow)
    assert world.log == ["a", "-a#1", "a"]


async def test_code_that_fails_beside_a_saga_undoes_it(world: World) -> None:
    async def book(ctx: Context) -> None:
        async with ctx.saga() as saga:
            await saga.run(world.charge, "a", undo=world.release)
            await ctx.sleep(1000)

    async def fail(ctx: Context) -> None:
        await ctx.sleep(5)
        raise ValueError("beside")

    async def code(ctx: Context) -> None:
        await asyncio.gather(book(ctx), fail(ctx))

    assert (await play(world, code)).message == "beside"
    assert world.log == ["a", "-a"]


async def test_by_hand_and_on_again(world: World) -> None:
    async def code(ctx: Context) -> None:
        async with ctx.saga() as saga:
            await saga.run(world.charge, "a", undo=world.release)
            await saga.compensate()
            await saga.run(world.charge, "a", undo=world.release)

    await play(world, code)
    assert world.log == ["a", "-a", "a"]


async def test_children_are_undone_and_undo(world: World) -> None:
    @workflow(name="book")
    async def book(ctx: Context, item: str) -> Receipt:
        return await world.charge.run(ctx, item)

    @workflow(name="unbook")
    async def unbook(ctx: Context, receipt: Receipt) -> None:
        await world.refund.run(ctx, receipt)

    @workflow(name="trip", retry=Retry.fixed(max_attempts=2, delay=1))
    async def trip(ctx: Context) -> None:
        async with ctx.saga() as saga:
            await saga.run(book, "a", undo=unbook)
            await saga.run(book, "b", undo=world.refund, idempotency_key="key of b")
            await saga.run(world.charge, "c", undo=world.refund)

    async with TestEnvironment.in_memory() as env:
        world.broken = {"c": 1}
        await env.worker(trip, book, unbook, *world.tasks)
        await env.run(trip)
    assert world.log == ["a", "b", "-b#1", "-a#1", "a", "b", "c"]


async def test_misuse_is_refused(world: World) -> None:
    async def code(ctx: Context) -> list[str]:
        refused = []
        saga = ctx.saga()
        with pytest.raises(DefinitionError, match="within its block"):
            await saga.run(world.charge, "a", undo=world.refund)
        async with saga:
            with pytest.raises(DefinitionError, match="undo must be"):
                await saga.run(world.charge, "a", undo=5)  # type: ignore[call-overload]
            with pytest.raises(DefinitionError, match="a compensation is"):
                saga.add(5)  # type: ignore[arg-type]
            refused.append("all")
        with pytest.raises(DefinitionError, match="one block"):
            async with saga:
                pass
        return refused

    assert await play(world, code) == ["all"]
    assert world.log == []


async def test_a_failed_task_in_the_saga_can_be_caught_within_it(world: World) -> None:
    async def code(ctx: Context) -> None:
        async with ctx.saga() as saga:
            await saga.run(world.charge, "a", undo=world.refund)
            with pytest.raises(TaskFailed):
                await saga.run(world.charge, "b", undo=world.refund)

    world.broken = {"b": 1}
    assert await play(world, code) is None
    assert world.log == ["a"]
