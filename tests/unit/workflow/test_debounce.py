"""Debounced starts: many calls, one run, the last payload."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from aiki.sdk import Client, Concurrency, Context, Debounce, DefinitionError, Trigger, WorkflowCancelled, workflow
from aiki.testing import TestEnvironment


@pytest.fixture
async def env() -> AsyncIterator[TestEnvironment]:
    async with TestEnvironment.in_memory() as environment:
        yield environment


@workflow(name="index")
async def index(ctx: Context, page: str) -> tuple[str, float]:
    return page, ctx.now().timestamp()


@workflow(name="single", concurrency=Concurrency(1, key=lambda page: page[:1]))
async def single(ctx: Context, page: str) -> str:
    await ctx.sleep(100)
    return page


def now(env: TestEnvironment) -> float:
    return env.client.clock.now()


async def test_one_run_begins_with_the_last_payload_when_it_is_quiet(env: TestEnvironment) -> None:
    await env.worker(index)
    rule = Debounce("site", period=timedelta(seconds=10))
    began = now(env)
    handles = []
    for number in range(5):
        handles.append(await index.enqueue(env.client, f"page {number}", debounce=rule))
        await env.advance(6)
    assert len({handle.id for handle in handles}) == 1
    page, at = await handles[0].wait_for_completion()
    assert page == "page 4"
    assert at - began == pytest.approx(34, abs=0.5)
    later = await index.enqueue(env.client, "page 5", debounce=rule)
    assert later.id != handles[0].id
    assert (await later.wait_for_completion())[0] == "page 5"


async def test_it_begins_at_the_latest_so_long_after_the_first_call(env: TestEnvironment) -> None:
    await env.worker(index)
    rule = Debounce("site", period=10, most=25)
    began = now(env)
    handles = []
    for number in range(8):
        handles.append(await index.enqueue(env.client, f"page {number}", debounce=rule))
        await env.advance(6)
    ids = [handle.id for handle in handles]
    assert ids == [ids[0]] * 5 + [ids[5]] * 3
    page, at = await handles[0].wait_for_completion()
    assert (page, round(at - began)) == ("page 4", 25)
    assert (await handles[7].wait_for_completion())[0] == "page 7"


async def test_keys_are_apart_and_calls_at_once_are_one(env: TestEnvironment) -> None:
    await env.worker(index)
    handles = await asyncio.gather(
        *(index.enqueue(env.client, f"{number}", debounce=Debounce(number % 2, period=1)) for number in range(12))
    )
    assert len({handle.id for handle in handles}) == 2
    results = {(await handle.wait_for_completion())[0] for handle in handles}
    assert {int(result) % 2 for result in results} == {0, 1}
    assert len([run async for run in env.client.runs()]) == 2


async def test_calls_count_as_long_as_no_worker_has_taken_the_run_up(env: TestEnvironment) -> None:
    rule = Debounce("site", period=10)
    first = await index.enqueue(env.client, "page 1", debounce=rule)
    await env.advance(3600)
    second = await index.enqueue(env.client, "page 2", debounce=rule)
    assert first.id == second.id
    await env.worker(index)
    assert (await first.wait_for_completion())[0] == "page 2"


async def test_after_a_cancellation_another_run_takes_the_calls(env: TestEnvironment) -> None:
    await env.worker(index)
    rule = Debounce("site", period=10)
    first = await index.enqueue(env.client, "page 1", debounce=rule)
    assert (await first.get_status()).state == "scheduled"
    await first.cancel()
    second = await index.enqueue(env.client, "page 2", debounce=rule)
    with pytest.raises(WorkflowCancelled):
        await first.wait_for_completion()
    assert (await second.wait_for_completion())[0] == "page 2"


async def test_a_client_that_dies_before_it_has_stored_the_start(env: TestEnvironment) -> None:
    await env.worker(index)

    async def die(*_: object, **__: object) -> bool:
        raise asyncio.CancelledError

    dying = Client(env.client.transport, clock=env.client.clock, reads_server_clock=False)
    dying.send_start = die  # type: ignore[method-assign]
    rule = Debounce("site", period=10)
    with pytest.raises(asyncio.CancelledError):
        await index.enqueue(dying, "page 1", debounce=rule)
    handle = await index.enqueue(env.client, "page 2", debounce=rule)
    assert (await handle.wait_for_completion())[0] == "page 2"


async def test_the_last_payload_decides_where_the_run_waits(env: TestEnvironment) -> None:
    await env.worker(single)
    blocking = await single.enqueue(env.client, "b1")
    await single.enqueue(env.client, "a", debounce=Debounce("k", period=10))
    handle = await single.enqueue(env.client, "b2", debounce=Debounce("k", period=10))
    await env.advance(20)
    assert (await handle.get_status()).state == "queued"
    assert await blocking.wait_for_completion() == "b1"
    assert await handle.wait_for_completion() == "b2"


async def test_what_cannot_be_is_refused(env: TestEnvironment) -> None:
    with pytest.raises(DefinitionError, match="most"):
        Debounce("k", period=10, most=5)
    with pytest.raises(DefinitionError, match="key"):
        Debounce("", period=10)
    with pytest.raises(DefinitionError, match="period"):
        Debounce("k", period=0)
    with pytest.raises(DefinitionError, match="no trigger"):
        await index.enqueue(env.client, "p", debounce=Debounce("k", period=1), trigger=Trigger.after(1))
    with pytest.raises(DefinitionError, match="a Debounce"):
        await index.enqueue(env.client, "p", debounce=10)  # type: ignore[arg-type]
    assert [run async for run in env.client.runs()] == []
