"""Updates, queries, publications and hooks on real NATS."""

import asyncio
import logging
from datetime import datetime
from typing import Any

import pytest

from aiki.sdk import (
    Context,
    HookInfo,
    PayloadError,
    QueryFailed,
    ResultTimeout,
    Retry,
    RunEnded,
    RunNotFound,
    UnknownWorkflow,
    UpdateFailed,
    Variables,
    WorkflowCancelled,
    WorkflowFailed,
    event,
    task,
    workflow,
)
from tests.integration.engine.place import Place, eventually

SOON = 20.0

go = event("go", str)


@task(name="remote")
async def remote(number: int) -> int:
    return number


@workflow(name="account")
async def account(ctx: Context, owner: str) -> list[int]:
    booked: list[int] = []
    closed = asyncio.Event()
    await closed.wait()
    return booked


@account.update("book")
async def book(state: Variables, amount: int) -> int:
    if amount < 0:
        raise ValueError("no debts")
    state.booked.append(await remote.run(state.ctx, amount))
    await state.ctx.publish(sum(state.booked))
    return sum(state.booked)


@account.update("close")
def close(state: Variables) -> None:
    state.closed.set()


@account.update("hang")
async def hang(state: Variables) -> None:
    await state.ctx.wait_for(go)


@account.query("sum")
def query_sum(state: Variables) -> int:
    return sum(state.booked)


@account.query("above")
def query_above(state: Variables, least: int) -> list[int]:
    return [amount for amount in state.booked if amount >= least]


@account.query("unencodable")
def query_unencodable(state: Variables) -> Any:
    return object()


@pytest.mark.parametrize("cached", [0, 100], ids=["replayed", "in memory"])
async def test_updates_and_queries(place: Place, cached: int) -> None:
    await place.worker(account, remote, cached_runs=cached)
    handle = await account.enqueue(place.client, "Ada")
    assert await asyncio.gather(*(handle.update("book", 5, idempotency_key="once", timeout=SOON) for _ in range(3))) == [5, 5, 5]
    assert await (await place.connect()).run(handle.id, "?", "?").update("book", 5, idempotency_key="once") == 5
    assert await handle.update("book", 7, timeout=SOON) == 12
    assert (await handle.query("sum"), await handle.query("above", 6)) == (12, [7])
    before = await place.sequences()
    bad: list[tuple[str, Any, str | None]] = [
        ("nope", None, None),
        ("above", "x", "payload"),
        ("above", None, "payload"),
        ("unencodable", None, None),
    ]
    for name, payload, code in bad:
        with pytest.raises(QueryFailed) as failed:
            await handle.query(name, payload)
        assert failed.value.error is not None
        assert code in (None, failed.value.error.code)
    assert await place.sequences() == before  # nothing is written
    for name, amount in (("nope", None), ("book", -1), ("book", "x")):
        with pytest.raises(UpdateFailed):
            await handle.update(name, amount, timeout=SOON)
    with pytest.raises(PayloadError):
        await handle.update("book", object())
    with pytest.raises(ResultTimeout):
        await handle.update("hang", timeout=0.3)
    assert [progress.data async for progress in _take(handle.updates(), 1)] == [12]
    await handle.update("close", timeout=SOON)
    assert await handle.wait_for_completion(SOON) == [5, 7]
    with pytest.raises(RunEnded):
        await handle.update("book", 1)
    with pytest.raises(QueryFailed):
        await handle.query("sum")
    names = [(each.what, each.name) for each in (await handle.describe()).messages]
    assert names == [("update", name) for name in ("book", "book", "nope", "book", "book", "hang", "close")]


async def test_without_a_worker_and_without_a_run(place: Place) -> None:
    handle = await account.enqueue(place.client, "Ada")
    with pytest.raises(UnknownWorkflow):
        await handle.query("sum")
    with pytest.raises(ResultTimeout):
        await handle.update("book", 3, idempotency_key="early", timeout=0.2)
    nobody = account.handle(place.client, "c" * 26)
    with pytest.raises(RunNotFound):
        await nobody.query("sum")
    with pytest.raises(RunNotFound):
        await nobody.update("book", 1)
    await place.worker(account, remote)
    assert await handle.update("book", 3, idempotency_key="early", timeout=SOON) == 3
    assert await handle.query("sum") == 3


async def test_an_update_outlives_its_worker(place: Place) -> None:
    first = await place.worker(account)  # nobody runs the task
    handle = await account.enqueue(place.client, "Ada")
    asked = asyncio.create_task(handle.update("book", 3, timeout=SOON))
    await eventually(lambda: _in_state(handle, "awaiting_task"))
    await first.stop(0)
    await place.worker(account, remote)
    assert await asked == 3


async def test_hooks_in_the_life_of_a_run(place: Place) -> None:
    notes: list[Any] = []

    @task(name="note", local=True)
    async def note(text: str) -> None:
        notes.append(text)

    @workflow(name="hooked", retry=Retry.fixed(max_attempts=2, delay=0.05))
    async def hooked(ctx: Context, way: str) -> str:
        await note.run(ctx, f"first line {ctx.attempt}")
        if way == "waits":
            await ctx.wait_for(go)
        await ctx.sleep(0.01)
        if way == "fails":
            raise ValueError("no")
        return way

    activations = 0

    @hooked.before_each
    async def before_each(ctx: Context, info: HookInfo) -> None:
        nonlocal activations
        activations += 1

    @hooked.on_start
    async def on_start(ctx: Context, info: HookInfo) -> None:
        await note.run(ctx, "start", idempotency_key="start")

    @hooked.on_sleep
    async def on_sleep(ctx: Context, info: HookInfo) -> None:
        assert isinstance(info.until, datetime)
        await note.run(ctx, f"sleep {info.attempt}")

    @hooked.on_complete
    async def on_complete(ctx: Context, info: HookInfo) -> None:
        await note.run(ctx, f"complete {info.result}")

    @hooked.on_error
    async def on_error(ctx: Context, info: HookInfo) -> None:
        await note.run(ctx, f"error {info.error} {info.will_retry}")

    @hooked.on_cancel
    async def on_cancel(ctx: Context, info: HookInfo) -> None:
        await note.run(ctx, f"cancel {info.reason}")

    await place.worker(hooked, note)
    assert await (await hooked.enqueue(place.client, "returns")).wait_for_completion(SOON) == "returns"
    assert notes == ["start", "first line 1", "sleep 1", "complete returns"]
    notes.clear()
    with pytest.raises(WorkflowFailed):
        await (await hooked.enqueue(place.client, "fails")).wait_for_completion(SOON)
    assert notes == ["start", "first line 1", "sleep 1", "error no True", "first line 2", "sleep 2", "error no False"]
    notes.clear()
    activations = 0
    waiting = await hooked.enqueue(place.client, "waits")
    await eventually(lambda: _in_state(waiting, "awaiting_event"))
    await waiting.cancel("enough")
    with pytest.raises(WorkflowCancelled):
        await waiting.wait_for_completion(SOON)
    assert notes == ["start", "first line 1", "cancel enough"]
    assert activations == 1


@pytest.mark.parametrize("occasion", ["on_start", "before_each", "on_sleep", "on_complete", "on_error", "on_cancel"])
async def test_what_a_failing_hook_does(place: Place, occasion: str, caplog: pytest.LogCaptureFixture) -> None:
    @workflow(name="hooked")
    async def hooked(ctx: Context, way: str) -> str:
        await ctx.sleep(0.01)
        if way == "on_error":
            raise LookupError("its own")
        if way == "on_cancel":
            await ctx.wait_for(go)
        return way

    async def hook(ctx: Context, info: HookInfo) -> None:
        raise ValueError("the hook's")

    called = []

    async def second(ctx: Context, info: HookInfo) -> None:
        called.append(info.occasion)

    getattr(hooked, occasion)(hook)
    getattr(hooked, occasion)(second)
    await place.worker(hooked)
    handle = await hooked.enqueue(place.client, occasion)
    with caplog.at_level(logging.WARNING):
        if occasion in ("on_start", "before_each", "on_error"):
            with pytest.raises(WorkflowFailed) as failed:
                await handle.wait_for_completion(SOON)
            assert failed.value.error is not None
            assert failed.value.error.message == ("its own" if occasion == "on_error" else "the hook's")
        elif occasion == "on_cancel":
            await eventually(lambda: _in_state(handle, "awaiting_event"))
            await handle.cancel()
            with pytest.raises(WorkflowCancelled):
                await handle.wait_for_completion(SOON)
        else:
            assert await handle.wait_for_completion(SOON) == occasion
    if occasion in ("on_start", "before_each"):
        assert not called
    else:
        assert called == [occasion]
        assert "the hook's" in caplog.text


async def _take(source: Any, count: int) -> Any:
    async for each in source:
        yield each
        count -= 1
        if count == 0:
            await source.aclose()
            return


async def _in_state(handle: Any, state: str) -> bool:
    found: str = (await handle.get_status()).state
    return found == state
