"""Payloads over 64 KiB: what travels is a claim, and whoever reads it gets the payload."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from aiki.client import Client
from aiki.journal import decode_state
from aiki.schema import claim_of
from aiki.sdk import (
    Cache,
    Context,
    IdempotencyConflict,
    PayloadError,
    PayloadTooLarge,
    RunNotFound,
    Variables,
    event,
    task,
    workflow,
)
from aiki.testing import TestEnvironment, replay

BIG = 300_000
more = event("more", str)


@task(name="double")
async def double(text: str) -> str:
    return text + text


@task(name="shorten", local=True)
async def shorten(text: str) -> str:
    return text[: len(text) // 2]


@workflow(name="inner")
async def inner(ctx: Context, text: str) -> str:
    return await double.run(ctx, text)


@workflow(name="outer")
async def outer(ctx: Context, text: str) -> str:
    doubled = await inner.run(ctx, text)
    kept = await ctx.step("keep", lambda: doubled + "k")
    short = await shorten.run(ctx, doubled)
    added = await ctx.wait_for(more)
    await ctx.sleep(timedelta(days=1))
    return short + added + kept[-1]


@workflow(name="patient")
async def patient(ctx: Context, text: str) -> int:
    first = await ctx.wait_for(more)
    second = await ctx.wait_for(more)
    return len(text) + len(first) + 2 * len(second)


@patient.update("measure")
async def measure(state: Variables, text: str) -> int:
    return len(text) + len(state.text)


@patient.query("size")
def size(state: Variables) -> int:
    return len(state.text)


@pytest.fixture(params=["live", "replaying"])
def environment(request: pytest.FixtureRequest) -> TestEnvironment:
    return TestEnvironment.in_memory(always_replay=request.param == "replaying")


async def stored_size(client: Client, run_id: str) -> int:
    stored = await client.store.read(run_id)
    assert stored is not None
    return len(stored.value)


async def test_a_large_payload_goes_through_tasks_children_steps_and_events(environment: TestEnvironment) -> None:
    async with environment as env:
        await env.worker(outer, inner, double, shorten)
        handle = await outer.enqueue(env.client, "a" * BIG)
        await handle.send(more, "b" * BIG)
        assert await handle.wait_for_completion() == "a" * BIG + "b" * BIG + "k"
        assert await stored_size(env.client, handle.id) < 8192
        view = await handle.describe()
        assert view.input["$aiki.claim"]["size"] == BIG + 2
        child = next(step for step in view.steps if step.kind == "child")
        assert child.output["$aiki.claim"]["size"] == 2 * BIG + 2
        assert env.body_runs(double) == 1


async def test_a_run_that_another_worker_takes_up_reads_its_large_payloads_again() -> None:
    async with TestEnvironment.in_memory() as env:
        await env.worker(outer, inner, double, shorten)
        handle = await outer.enqueue(env.client, "a" * BIG)
        await env.advance(timedelta(seconds=1))
        await env.crash_worker()
        await env.restart_worker()
        await handle.send(more, "b" * BIG)
        assert len(await handle.wait_for_completion()) == 2 * BIG + 1
        assert env.body_runs(double) == 1


async def test_large_events_that_wait_for_the_code_are_read_when_it_takes_them() -> None:
    async with TestEnvironment.in_memory() as env:
        await env.worker(patient)
        handle = await patient.enqueue(env.client, "t" * BIG)
        await env.advance(timedelta(seconds=1))
        await handle.pause()
        await handle.send(more, "a" * BIG)
        await handle.send(more, "b" * BIG)
        await env.advance(timedelta(seconds=1))  # in memory, but their bytes are not
        await handle.resume()
        assert await handle.wait_for_completion() == 4 * BIG


async def test_updates_and_queries_of_a_run_with_large_payloads(environment: TestEnvironment) -> None:
    async with environment as env:
        await env.worker(patient)
        handle = await patient.enqueue(env.client, "t" * BIG)
        await env.advance(timedelta(seconds=1))
        assert await handle.update("measure", "m" * BIG, idempotency_key="one") == 2 * BIG
        await env.crash_worker()
        await env.restart_worker()
        assert await handle.query("size") == BIG
        assert await handle.update("measure", "m" * BIG, idempotency_key="one") == 2 * BIG
        with pytest.raises(IdempotencyConflict):
            await handle.update("measure", "n" * BIG, idempotency_key="one")


@pytest.mark.parametrize("number", range(1, 7))
async def test_a_worker_that_dies_before_a_commit_leaves_nothing_behind_that_is_needed(number: int) -> None:
    async with TestEnvironment.in_memory() as env:
        await env.worker(outer, inner, double, shorten)
        env.crash_before_commit(number, restart=True)
        handle = await outer.enqueue(env.client, "a" * BIG)
        await handle.send(more, "b" * BIG)
        assert len(await handle.wait_for_completion()) == 2 * BIG + 1


async def test_equal_payloads_are_stored_once() -> None:
    async with TestEnvironment.in_memory() as env:
        await env.worker(inner, double)
        handles = await asyncio.gather(*(inner.enqueue(env.client, "a" * BIG) for _ in range(5)))
        results = await asyncio.gather(*(handle.wait_for_completion() for handle in handles))
        assert {len(result) for result in results} == {2 * BIG}
        assert len(await env.client.blobs.store.ids()) == 2
        uploads = await env.client.blobs.store.uploads()
        assert len(uploads) == 2


async def test_the_same_key_finds_the_same_run_by_a_large_payload() -> None:
    async with TestEnvironment.in_memory() as env:
        await env.worker(inner, double)
        first = await inner.enqueue(env.client, "a" * BIG, idempotency_key="one")
        again = await inner.enqueue(env.client, "a" * BIG, idempotency_key="one")
        assert first.id == again.id
        with pytest.raises(IdempotencyConflict):
            await inner.enqueue(env.client, "b" * BIG, idempotency_key="one")


async def test_a_payload_that_looks_like_a_claim_is_none() -> None:
    @task(name="echo")
    async def echo(value: Any) -> Any:
        return value

    @workflow(name="echoes")
    async def echoes(ctx: Context, value: Any) -> Any:
        return await echo.run(ctx, value)

    value = {"$aiki.claim": {"sha256": "0" * 64, "size": 3}}
    async with TestEnvironment.in_memory() as env:
        await env.worker(echoes, echo)
        assert await env.run(echoes, value) == value
        assert await env.run(echoes, {"$aiki.claim": 1}) == {"$aiki.claim": 1}
        with pytest.raises(PayloadError, match=r"stands for a large payload"):
            await (await echoes.enqueue(env.client, 1)).query("anything", value)


async def test_what_is_over_the_limit_is_refused_before_anything_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIKI_MAX_PAYLOAD", "1000000")
    async with TestEnvironment.in_memory() as env:
        with pytest.raises(PayloadTooLarge, match=r"1,000,003 bytes of JSON; the limit is 1,000,000") as caught:
            await inner.enqueue(env.client, "a" * 1_000_001)
        assert (caught.value.size, caught.value.limit) == (1_000_003, 1_000_000)
        assert await env.client.blobs.store.ids() == []


async def test_a_large_event_for_a_run_that_is_not_there_is_not_stored() -> None:
    async with TestEnvironment.in_memory() as env:
        await env.worker(patient)
        with pytest.raises(RunNotFound):
            await patient.handle(env.client, "01HV0000000000000000000000").send(more, "a" * BIG)
        assert await env.client.blobs.store.ids() == []


async def test_a_fork_holds_the_payloads_of_the_run_that_it_came_from() -> None:
    async with TestEnvironment.in_memory() as env:
        await env.worker(inner, double)
        handle = await inner.enqueue(env.client, "a" * BIG)
        await handle.wait_for_completion()
        fork = await handle.fork()
        assert await fork.wait_for_completion() == "a" * 2 * BIG
        assert env.body_runs(double) == 1
        marks = {(mark.id, mark.run_id) for mark in await env.client.blobs.store.marks()}
        assert marks == {(id, run) for id in await env.client.blobs.store.ids() for run in (handle.id, fork.id)}


async def test_a_run_continues_as_new_with_a_large_payload() -> None:
    @workflow(name="growing")
    async def growing(ctx: Context, text: str) -> int:
        if len(text) < 3 * BIG:
            await ctx.continue_as_new(text + "a" * BIG)
        return len(text)

    async with TestEnvironment.in_memory() as env:
        await env.worker(growing)
        assert await env.run(growing, "") == 3 * BIG


async def test_a_large_result_is_not_cached_for_other_runs() -> None:
    @task(name="make", cache=Cache(ttl=timedelta(hours=1)))
    async def make(length: int) -> str:
        return "a" * length

    @workflow(name="makes")
    async def makes(ctx: Context, length: int) -> str:
        return await make.run(ctx, length)

    async with TestEnvironment.in_memory() as env:
        await env.worker(makes, make)
        assert await env.run(makes, BIG) == "a" * BIG
        assert await env.run(makes, BIG) == "a" * BIG
        assert env.body_runs(make) == 2


async def test_small_payloads_are_no_claims() -> None:
    async with TestEnvironment.in_memory() as env:
        await env.worker(inner, double)
        handle = await inner.enqueue(env.client, "a" * 1000)
        assert await handle.wait_for_completion() == "a" * 2000
        stored = await env.client.store.read(handle.id)
        assert stored is not None and claim_of(decode_state(stored.value).input) is None
        assert await env.client.blobs.store.ids() == []


async def test_a_history_says_which_large_payload_it_lacks() -> None:
    async with TestEnvironment.in_memory() as env:
        await env.worker(inner, double)
        handle = await inner.enqueue(env.client, "a" * BIG)
        await handle.wait_for_completion()
        with pytest.raises(PayloadError, match="its history lacks the large payload"):
            replay(inner, await handle.history())
