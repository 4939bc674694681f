"""Runs that have ended without a result go on by request."""

import asyncio
from datetime import timedelta

import pytest

from aiki.sdk import Context, NotRetryable, Retry, WorkflowCancelled, WorkflowFailed, WorkflowTimedOut, task, workflow
from aiki.testing import TestEnvironment


class Shop:
    """What the tasks do, and how often."""

    def __init__(self) -> None:
        self.closed = True
        self.packed = 0


def parts(shop: Shop):  # type: ignore[no-untyped-def]
    @task(name="pack")
    async def pack(id: int) -> int:
        shop.packed += 1
        return id

    @task(name="pay")
    async def pay(id: int) -> str:
        if shop.closed:
            raise ConnectionError("closed")
        return f"paid {id}"

    @workflow(name="order", deadline=timedelta(days=1))
    async def order(ctx: Context, id: int) -> str:
        await pack.run(ctx, id)
        try:
            return await pay.run(ctx, id)
        finally:
            await ctx.sleep(60)

    return order, pack, pay


async def test_a_failed_run_goes_on_where_it_failed() -> None:
    shop = Shop()
    order, pack, pay = parts(shop)
    async with TestEnvironment.in_memory() as env:
        await env.worker(order, pack, pay)
        handle = await order.enqueue(env.client, 7)
        with pytest.raises(NotRetryable):
            await handle.retry()
        with pytest.raises(WorkflowFailed, match="closed"):
            await handle.wait_for_completion()
        await handle.retry("still closed")
        assert (await handle.get_status()).state != "failed"
        with pytest.raises(WorkflowFailed, match="closed"):
            await handle.wait_for_completion()
        shop.closed = False
        await handle.retry("open again")
        assert await handle.wait_for_completion() == "paid 7"
        status = await handle.get_status()
        assert (status.attempts, status.error, shop.packed) == (3, None, 1)
        with pytest.raises(NotRetryable, match="completed"):
            await handle.retry()


async def test_a_cancelled_and_a_timed_out_run_go_on_and_their_limits_count_anew() -> None:
    @workflow(name="wait", deadline=timedelta(hours=2))
    async def wait(ctx: Context) -> int:
        if ctx.attempt < 3:
            await ctx.sleep(timedelta(days=1))
        await ctx.sleep(timedelta(hours=1))
        return ctx.attempt

    async with TestEnvironment.in_memory() as env:
        await env.worker(wait)
        handle = await wait.enqueue(env.client)
        await asyncio.sleep(1)
        await handle.cancel("too long")
        with pytest.raises(WorkflowCancelled):
            await handle.wait_for_completion()
        await handle.retry()
        with pytest.raises(WorkflowTimedOut):
            await handle.wait_for_completion()
        await handle.retry()
        assert await handle.wait_for_completion() == 3


async def test_a_retry_waits_for_a_worker_like_everything_else() -> None:
    shop = Shop()
    order, pack, pay = parts(shop)
    async with TestEnvironment.in_memory() as env:
        worker = await env.worker(order, pack, pay)
        handle = await order.enqueue(env.client, 7)
        with pytest.raises(WorkflowFailed):
            await handle.wait_for_completion()
        await worker.stop()
        shop.closed = False
        await handle.retry()
        assert (await handle.get_status()).state == "running"
        await env.worker(order, pack, pay)
        assert await handle.wait_for_completion() == "paid 7"


async def test_a_child_that_was_retried_tells_its_end_once_more() -> None:
    tries: list[int] = []

    @workflow(name="kid")
    async def kid(ctx: Context) -> int:
        await ctx.step("try", lambda: tries.append(1))
        if ctx.attempt == 1:
            raise ValueError("the first time")
        await ctx.sleep(20)
        return 7

    @workflow(name="parent", retry=Retry.fixed(max_attempts=2, delay=10))
    async def parent(ctx: Context) -> int:
        return await kid.run(ctx, idempotency_key="k")

    async with TestEnvironment.in_memory() as env:
        await env.worker(kid, parent)
        handle = await parent.enqueue(env.client)
        await asyncio.sleep(5)
        # Its parent waits for its next attempt, which wants the run of that key: well within the stream's memory of message ids.
        await kid.handle_by_key(env.client, "k").retry()
        assert await handle.wait_for_completion() == 7
