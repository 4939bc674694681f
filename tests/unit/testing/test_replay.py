"""Recorded runs, replayed against code as it is now."""

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from aiki.sdk import Context, DefinitionError, NonDeterminismError, PayloadError, RunNotFound, Workflow, WorkflowFailed, task, workflow
from aiki.testing import RunHistory, TestEnvironment, replay


@task(name="double")
async def double(number: int) -> int:
    return number * 2


@task(name="refuse")
async def refuse(number: int) -> int:
    raise ValueError(f"not {number}")


Code = Callable[[Context, int], Awaitable[int]]


def define(code: Code, name: str = "sums") -> Workflow[int, int]:
    @workflow(name=name)
    async def sums(ctx: Context, number: int) -> int:
        return await code(ctx, number)

    return sums


async def original(ctx: Context, number: int) -> int:
    first = await double.run(ctx, number)
    await ctx.sleep(3600)
    return await double.run(ctx, first)


async def record(code: Code, *, until: float | None = None) -> RunHistory:
    definition = define(code)
    async with TestEnvironment.in_memory() as env:
        await env.worker(definition, double, refuse)
        handle = await definition.enqueue(env.client, 3)
        if until is None:
            with contextlib.suppress(WorkflowFailed):
                await handle.wait_for_completion()
        else:
            await env.advance(until)
        return await handle.history()


async def test_the_same_code_comes_to_the_same_end() -> None:
    history = await record(original)
    replayed = replay(define(original), history)
    assert (replayed.state, replayed.output, replayed.entries) == ("completed", 12, 3)
    assert replay(define(original), history.to_json()) == replayed
    assert replay(define(original), history.to_json().decode()) == replayed


async def test_a_run_that_has_not_ended() -> None:
    history = await record(original, until=60)
    assert replay(define(original), history).state == "running"


async def test_a_run_that_failed() -> None:
    async def fails(ctx: Context, number: int) -> int:
        return await refuse.run(ctx, number)

    replayed = replay(define(fails), await record(fails))
    assert replayed.state == "failed"
    assert "not 3" in str(replayed.error)


async def test_a_long_run_has_its_segments() -> None:
    async def long(ctx: Context, number: int) -> int:
        @task(name="pad", local=True)
        async def pad(number: int) -> str:
            return "x" * 2000

        return sum([len(await pad.run(ctx, each)) for each in range(60)])

    history = await record(long)
    assert len(history.segments) > 1
    replayed = replay(define(long), history.to_json())
    assert (replayed.output, replayed.entries) == (120_000, 60)


@pytest.mark.parametrize("until", [None, 60.0])
async def test_another_step_is_found_out(until: float | None) -> None:
    async def changed(ctx: Context, number: int) -> int:
        return await double.run(ctx, number + 1)

    with pytest.raises(NonDeterminismError, match="double"):
        replay(define(changed), await record(original, until=until))


async def test_another_end_is_found_out() -> None:
    async def more(ctx: Context, number: int) -> int:
        return await original(ctx, number) + 1

    async def further(ctx: Context, number: int) -> int:
        return await double.run(ctx, await original(ctx, number))

    history = await record(original)
    with pytest.raises(NonDeterminismError, match="completed with 12, but the code as it is now comes to completed with 13"):
        replay(define(more), history)
    with pytest.raises(NonDeterminismError, match=r"waits; it calls steps that are not recorded: double"):
        replay(define(further), history)


async def test_a_step_in_the_place_of_one_that_is_waited_for() -> None:
    async def waits(ctx: Context, number: int) -> int:
        return await nobody.run(ctx, number)

    async def other(ctx: Context, number: int) -> int:
        return await double.run(ctx, number)

    @task(name="nobody")
    async def nobody(number: int) -> int:
        return number

    history = await record(waits, until=1)
    assert replay(define(waits), history).state == "running"
    with pytest.raises(NonDeterminismError, match=r"waits for nobody:.*calls double:"):
        replay(define(other), history)


async def test_bad_histories() -> None:
    history = await record(original)
    with pytest.raises(DefinitionError, match="of workflow 'sums', not of 'others'"):
        replay(define(original, "others"), history)
    for document in (b"", b"[]", b"{}", "{", b"\xff"):
        with pytest.raises(PayloadError, match="no history"):
            replay(define(original), document)
    for broken in (b"", b"\x00", history.state[:-5]):
        with pytest.raises(PayloadError, match="cannot be read"):
            replay(define(original), msgspec.structs.replace(history, state=broken))


async def test_there_is_no_such_run() -> None:
    async with TestEnvironment.in_memory() as env:
        handle: Any = define(original).handle(env.client, "nowhere")
        with pytest.raises(RunNotFound):
            await handle.history()
