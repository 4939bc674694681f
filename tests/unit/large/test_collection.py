"""Large payloads are kept as long as a run refers to them, and collected afterwards."""

from datetime import timedelta

import pytest

from aiki.kv import BlobStore
from aiki.kv.blob_store import CHUNK
from aiki.schema import claimed
from aiki.sdk import Context, DefinitionError, PayloadLost, Trigger, event, task, workflow
from aiki.services.timer import TimerService
from aiki.testing import TestEnvironment

BIG = 100_000
more = event("more", str)


@task(name="double")
async def double(text: str) -> str:
    return text + text


@workflow(name="doubles", retention=timedelta(days=2))
async def doubles(ctx: Context, text: str) -> str:
    return await double.run(ctx, text)


@workflow(name="waits")
async def waits(ctx: Context, text: str) -> int:
    return len(text + await ctx.wait_for(more))


@workflow(name="parent", retention=timedelta(hours=1))
async def parent(ctx: Context, text: str) -> None:
    _ = await waits.start(ctx, text, close="abandon", idempotency_key="child")
    await ctx.sleep(1)


async def test_a_payload_goes_when_the_last_run_that_refers_to_it_is_gone() -> None:
    async with TestEnvironment.in_memory() as env:
        await env.worker(doubles, double, waits)
        assert await env.run(doubles, "a" * BIG) == "a" * 2 * BIG
        waiting = await waits.enqueue(env.client, "a" * BIG)
        await env.advance(timedelta(hours=40))
        assert (await env.client.collect_blobs()).blobs == 0
        await env.advance(timedelta(days=3))
        collected = await env.client.collect_blobs()
        assert (collected.blobs, collected.bytes, collected.marks) == (1, 2 * BIG + 2, 2)
        assert [view.runs for view in await env.client.list_blobs()] == [[waiting.id]]
        await env.crash_worker()
        await env.restart_worker()
        await waiting.send(more, "b")
        assert await waiting.wait_for_completion() == BIG + 1


async def test_a_child_that_outlives_its_parent_holds_its_input() -> None:
    async with TestEnvironment.in_memory() as env:
        await env.worker(parent)
        await env.run(parent, "a" * BIG)
        await env.advance(timedelta(days=3))
        assert (await env.client.collect_blobs()).blobs == 0
        await env.worker(waits)
        child = waits.handle_by_key(env.client, "child")
        await child.send(more, "b")
        assert await child.wait_for_completion() == BIG + 1


async def test_the_payload_of_a_run_that_has_not_begun_is_kept() -> None:
    async with TestEnvironment.in_memory() as env:
        await doubles.enqueue(env.client, "a" * BIG)
        await doubles.enqueue(env.client, "b" * BIG, trigger=Trigger.after(timedelta(days=9)))
        await env.advance(timedelta(days=3))
        assert (await env.client.collect_blobs()).blobs == 0


async def test_what_is_used_anew_is_not_collected_though_it_was_found_unused() -> None:
    async with TestEnvironment.in_memory() as env:
        data = b'"' + b"a" * BIG + b'"'
        claim = claimed(data)
        store: BlobStore = env.client.blobs.store
        await store.write(claim, data, "01hv0000000000000000000001")
        await env.advance(timedelta(days=2))
        found = await store.find(await store.id(claim))
        await env.client.blobs.write(claim, data, "01HV0000000000000000000000")
        assert not await store.delete(await store.id(claim), found)
        assert await store.read(claim) == data


async def test_an_upload_that_nobody_has_finished_is_deleted() -> None:
    async with TestEnvironment.in_memory() as env:
        store = env.client.blobs.store
        prefix = env.client.subjects.blobs_prefix
        for number in range(3):
            await env.client.transport.publish(f"{prefix}chunk.abc.{number}", b"x" * CHUNK)
        await env.advance(timedelta(days=2))
        assert (await env.client.collect_blobs()).uploads == 1
        assert await store.uploads() == {}


async def test_a_payload_that_is_collected_can_be_stored_anew() -> None:
    async with TestEnvironment.in_memory() as env:
        await env.worker(doubles, double)
        await env.run(doubles, "a" * BIG)
        await env.advance(timedelta(days=5))
        assert (await env.client.collect_blobs()).blobs == 2
        assert await env.client.list_blobs() == []
        assert await env.run(doubles, "a" * BIG) == "a" * 2 * BIG


async def test_what_is_young_is_never_collected() -> None:
    async with TestEnvironment.in_memory() as env:
        with pytest.raises(DefinitionError, match="older_than"):
            await env.client.collect_blobs(older_than=timedelta(hours=1))


async def test_the_timer_service_collects() -> None:
    async with TestEnvironment.in_memory() as env:
        await env.worker(doubles, double)
        await env.run(doubles, "a" * BIG)
        async with TimerService(env.client):
            await env.advance(timedelta(days=5))
        assert await env.client.list_blobs() == []


async def test_a_payload_that_is_damaged_is_not_given_out() -> None:
    async with TestEnvironment.in_memory() as env:
        data = b'"' + b"a" * BIG + b'"'
        claim = claimed(data)
        store = env.client.blobs.store
        await store.write(claim, data, "01hv0000000000000000000001")
        meta = (await store.find(await store.id(claim))).meta
        assert meta is not None
        await env.client.transport.publish(f"{env.client.subjects.blobs_prefix}chunk.{meta.upload}.0", b"x" * BIG)
        with pytest.raises(PayloadLost):
            await store.read(claim)
