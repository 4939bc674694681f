"""Sub-workflows on real NATS: many, deep, shared, refused."""

import asyncio
from typing import Any

import pytest

from aiki.client import ChildView
from aiki.sdk import (
    ChildCancelled,
    ChildFailed,
    ChildTimedOut,
    Client,
    Context,
    IdempotencyConflict,
    WorkflowCancelled,
    WorkflowFailed,
    event,
    task,
    workflow,
)
from tests.integration.engine.place import Place, eventually

SOON = 30.0

go = event("go", str)


@workflow(name="leaf")
async def leaf(ctx: Context, number: int) -> int:
    return number


@workflow(name="fan")
async def fan(ctx: Context, count: int) -> int:
    return sum(await asyncio.gather(*(leaf.run(ctx, number) for number in range(count))))


@workflow(name="deep")
async def deep(ctx: Context, levels: int) -> int:
    if levels == 0:
        return 1
    first, second = await asyncio.gather(deep.run(ctx, levels - 1), deep.run(ctx, levels - 1))
    return first + second


@workflow(name="waiting")
async def waiting(ctx: Context, text: str) -> str:
    return text + await ctx.wait_for(go)


def count(children: tuple[ChildView, ...]) -> int:
    return sum(1 + count(child.children) for child in children)


def depth(children: tuple[ChildView, ...]) -> int:
    return max((1 + depth(child.children) for child in children), default=0)


async def test_a_thousand_children_of_one_parent(place: Place) -> None:
    await place.worker(fan, leaf)
    handle = await fan.enqueue(place.client, 1000)
    assert await handle.wait_for_completion(SOON) == sum(range(1000))
    view = await handle.describe(tree=True)
    assert len(view.children) == 1000
    assert {child.state for child in view.children} == {"completed"}


async def test_five_levels_deep(place: Place) -> None:
    await place.worker(deep)
    handle = await deep.enqueue(place.client, 5)
    assert await handle.wait_for_completion(SOON) == 2**5
    view = await handle.describe(tree=True)
    assert (depth(view.children), count(view.children)) == (5, 2**6 - 2)
    assert (await handle.describe()).children == ()


async def test_each_end_of_a_child_is_told_its_parent(place: Place) -> None:
    @workflow(name="bad")
    async def bad(ctx: Context, how: str) -> None:
        if how == "fails":
            raise LookupError("nothing found")
        await ctx.sleep(3600)

    @workflow(name="asks")
    async def asks(ctx: Context) -> list[Any]:
        seen: list[Any] = []
        try:
            await bad.run(ctx, "fails")
        except ChildFailed as error:
            assert error.error is not None
            seen.append([type(error).__name__, error.error.message, error.workflow])
        try:
            await bad.run(ctx, "sleeps", timeout=0.1)
        except ChildTimedOut as error:
            seen.append(error.workflow)
        child = await bad.start(ctx, "sleeps on")
        await child.cancel("enough")
        try:
            await child
        except ChildCancelled as error:
            assert error.error is not None
            seen.append([error.error.message, error.run_id == child.id])
        return seen

    await place.worker(bad, asks)
    handle = await asks.enqueue(place.client)
    assert await handle.wait_for_completion(SOON) == [["ChildFailed", "nothing found", "bad"], "bad", ["enough", True]]


@pytest.mark.parametrize("close", ["cancel", "terminate", "abandon"])
@pytest.mark.parametrize("way", ["returns", "fails", "cancelled"])
async def test_what_becomes_of_a_child_when_its_parent_ends_first(place: Place, close: Any, way: str) -> None:
    @workflow(name="hasty")
    async def hasty(ctx: Context, way: str) -> str:
        child = await waiting.start(ctx, "went", idempotency_key="the child", close=close)
        if way == "cancelled":
            await ctx.wait_for(go)
        await ctx.step("so that the child's start is written", lambda: None)
        if way == "fails":
            raise ValueError("hasty")
        return child.id

    await place.worker(hasty, waiting)
    handle = await hasty.enqueue(place.client, way)
    child = waiting.handle_by_key(place.client, "the child")
    if way == "cancelled":
        await eventually(lambda: _exists(place.client, child.id))
        await handle.cancel()
        with pytest.raises(WorkflowCancelled):
            await handle.wait_for_completion(SOON)
    elif way == "fails":
        with pytest.raises(WorkflowFailed):
            await handle.wait_for_completion(SOON)
    else:
        assert await handle.wait_for_completion(SOON) == child.id
    if close == "abandon":
        await child.send(go, " on")
        assert await child.wait_for_completion(SOON) == "went on"
    else:
        with pytest.raises(WorkflowCancelled):
            await child.wait_for_completion(SOON)


async def test_a_child_under_a_key_is_the_run_of_that_key(place: Place) -> None:
    @workflow(name="shares")
    async def shares(ctx: Context, text: str) -> str:
        return await waiting.run(ctx, text, idempotency_key="shared")

    @workflow(name="takes")
    async def takes(ctx: Context, text: str) -> str:
        return await waiting.run(ctx, text, idempotency_key="shared", on_conflict="return_existing")

    await place.worker(shares, takes, waiting)
    own = await waiting.enqueue(place.client, "first", idempotency_key="shared")
    same = await shares.enqueue(place.client, "first")
    other = await shares.enqueue(place.client, "second")
    taken = await takes.enqueue(place.client, "third")
    with pytest.raises(WorkflowFailed) as conflict:
        await other.wait_for_completion(SOON)
    assert conflict.value.error is not None
    assert "another payload" in str(conflict.value.error)
    for parent in (same, taken):
        await eventually(lambda parent=parent: _child_is(parent, own.id))  # type: ignore[misc]
    await own.send(go, " and last")
    assert [await each.wait_for_completion(SOON) for each in (own, same, taken)] == ["first and last"] * 3
    with pytest.raises(IdempotencyConflict):
        await waiting.enqueue(place.client, "fourth", idempotency_key="shared")


async def test_a_child_that_would_be_its_own_parent_is_refused(place: Place) -> None:
    @workflow(name="own")
    async def own(ctx: Context) -> str:
        return await own.run(ctx, idempotency_key="self")

    await place.worker(own)
    handle = await own.enqueue(place.client, idempotency_key="self")
    with pytest.raises(WorkflowFailed) as failed:
        await handle.wait_for_completion(SOON)
    assert failed.value.error is not None
    assert failed.value.error.code == "definition"
    assert "its own child" in failed.value.error.message


async def test_a_circle_of_runs_is_shown_once(place: Place) -> None:
    @workflow(name="circle")
    async def circle(ctx: Context, key: str) -> None:
        try:
            await circle.run(ctx, "b" if key == "a" else "a", idempotency_key="b" if key == "a" else "a", deadline=3600)
        except ChildCancelled:
            return

    await place.worker(circle)
    handle = await circle.enqueue(place.client, "a", idempotency_key="a")
    other = circle.handle_by_key(place.client, "b")
    await eventually(lambda: _child_is(other, handle.id))
    (child,) = (await handle.describe(tree=True)).children
    assert (child.id, [(each.id, each.state, each.children) for each in child.children]) == (other.id, [(handle.id, "unknown", ())])
    await handle.terminate()
    with pytest.raises(WorkflowCancelled):
        await handle.wait_for_completion(SOON)


async def test_the_tasks_of_a_child_run_in_its_queue(place: Place) -> None:
    @task(name="where")
    async def where(number: int) -> str:
        return "special" if number else "default"

    @workflow(name="inner")
    async def inner(ctx: Context, number: int) -> str:
        return await where.run(ctx, number)

    @workflow(name="outer")
    async def outer(ctx: Context) -> str:
        return await inner.run(ctx, 1, queue="special")

    await place.worker(outer, inner)
    await place.worker(where, queue="special")
    handle = await outer.enqueue(place.client)
    assert await handle.wait_for_completion(SOON) == "special"


async def _exists(client: Client, run_id: str) -> bool:
    return await client.load(run_id) is not None


async def _child_is(parent: Any, run_id: str) -> bool:
    status = await parent.get_status() if await parent._client.load(parent.id) is not None else None
    return status is not None and any(run_id in wait for wait in status.waiting_on)
