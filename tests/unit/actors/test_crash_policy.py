"""`Retry.never(on_crash="fail")`: what was begun is not begun again, and what was not begun is."""

import asyncio

import pytest

from aiki.sdk import Context, Retry, WorkerLost, task, workflow
from aiki.testing import TestEnvironment

begun: list[int] = []


@pytest.fixture(autouse=True)
def fresh() -> None:
    begun.clear()


@task(name="once", retry=Retry.never(on_crash="fail"))
async def once(number: int) -> int:
    begun.append(number)
    await asyncio.sleep(30)
    return number


@workflow(name="some")
async def some(ctx: Context, count: int) -> list[int | str]:
    done = await asyncio.gather(*(once.run(ctx, number) for number in range(count)), return_exceptions=True)
    return [each.code if isinstance(each, WorkerLost) else each if isinstance(each, int) else repr(each) for each in done]


@pytest.mark.parametrize("killed", [True, False])
async def test_of_a_worker_that_goes_the_call_it_had_begun_fails_and_those_it_had_not_are_run(killed: bool) -> None:
    async with TestEnvironment.in_memory() as env:
        await env.worker(some)
        first = await env.worker(once, max_concurrent_tasks=1)
        run = await some.enqueue(env.client, 3)
        await env.advance(2)
        assert len(begun) == 1
        await (env.crash_worker(first) if killed else first.stop(0))
        await env.worker(once)
        results = await run.wait_for_completion()
        assert sorted(begun) == [0, 1, 2]
        assert [number for number in range(3) if results[number] == "worker_lost"] == begun[:1]
        await env.advance(5)
        subjects = env.client.subjects
        assert len(await env.client.transport.subjects(subjects.dead_stream, f"{subjects.dead_prefix}taken.>")) == 1, "that of the lost one"
