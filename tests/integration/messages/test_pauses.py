"""Pause, resume and cancel, in every state that is not final; what it does to tasks, children and clean-up."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from aiki.client import RunHandle
from aiki.sdk import (
    ChildCancelled,
    Context,
    Retry,
    RunEnded,
    RunNotFound,
    TaskCancelled,
    TaskContext,
    Trigger,
    WorkflowCancelled,
    WorkflowFailed,
    event,
    task,
    workflow,
)
from tests.integration.engine.place import Place, eventually

SOON = 20.0

go = event("go", str)


@task(name="remote", queue="nobody")
async def remote(number: int) -> int:
    return number


@task(name="flaky", queue="default", retry=Retry.fixed(max_attempts=2, delay=5))
async def flaky(number: int) -> int:
    raise ValueError("not yet")


@workflow(name="child")
async def child(ctx: Context) -> str:
    return await ctx.wait_for(go)


@workflow(name="waits", retry=Retry.fixed(max_attempts=2, delay=30))
async def waits(ctx: Context, for_what: str) -> Any:
    match for_what:
        case "sleeping":
            return await ctx.sleep(30)
        case "awaiting_event":
            return await ctx.wait_for(go)
        case "awaiting_task":
            return await remote.run(ctx, 1)
        case "awaiting_child":
            return await child.run(ctx)
        case "running":
            await ctx.step("long", lambda: asyncio.sleep(30))
        case _:
            if ctx.attempt == 1:
                raise ValueError("again")
    return for_what


def in_state(handle: RunHandle[Any], *states: str) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return (await handle.get_status()).state in states

    return look


STATES = ["sleeping", "awaiting_event", "awaiting_task", "awaiting_child", "running", "awaiting_retry", "scheduled"]


async def reach(place: Place, state: str) -> RunHandle[Any]:
    trigger = Trigger.after(30) if state == "scheduled" else None
    handle = await waits.enqueue(place.client, state, trigger=trigger)
    await eventually(in_state(handle, state))
    return handle


@pytest.mark.parametrize("state", STATES)
async def test_every_state_can_be_paused_and_goes_on_as_it_was(place: Place, state: str) -> None:
    await place.worker(waits, child)
    handle = await reach(place, state)
    await handle.pause("for a while")
    await eventually(in_state(handle, "paused"))
    await handle.pause("twice")
    view = await handle.describe()
    assert [(each.kind, each.what, each.wakes) for each in view.waits] == [
        ("pause", "its pause to end: for a while", "`resume` (or `cancel`)")
    ]
    assert await place.client.send_many(go, "on", state="paused") == {handle.id: "sent"}
    assert await place.client.resume_many(workflow="waits") == {handle.id: "resumed"}
    await eventually(in_state(handle, *(("completed",) if state == "awaiting_event" else (state,))))
    if state == "awaiting_event":
        assert await handle.wait_for_completion(SOON) == "on"
    else:
        await handle.cancel()
        with pytest.raises(WorkflowCancelled):
            await handle.wait_for_completion(SOON)


@pytest.mark.parametrize("paused", [False, True], ids=["as it is", "paused"])
@pytest.mark.parametrize("state", [*STATES, "queued"])
async def test_every_state_can_be_cancelled(place: Place, state: str, paused: bool) -> None:
    if state != "queued":
        await place.worker(waits, child)
    handle = await (waits.enqueue(place.client, "sleeping") if state == "queued" else reach(place, state))
    if paused:
        await handle.pause()
        if state != "queued":
            await eventually(in_state(handle, "paused"))
    await handle.cancel("why not")
    if state == "queued":
        await place.worker(waits, child)
    with pytest.raises(WorkflowCancelled) as cancelled:
        await handle.wait_for_completion(SOON)
    assert cancelled.value.error is not None
    assert cancelled.value.error.message == "why not"
    with pytest.raises(RunEnded) as again:
        await handle.cancel()
    assert again.value.state == "cancelled"
    subjects = place.client.subjects
    async with asyncio.timeout(SOON):  # its tasks and alarms are withdrawn
        while await place.client.transport.subjects(subjects.task_stream, ">"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_cancelled_twice_while_it_cleans_up(place: Place) -> None:
    cleaned: list[str] = []

    @task(name="clean", local=True)
    async def clean(what: str) -> None:
        cleaned.append(what)

    @workflow(name="careful")
    async def careful(ctx: Context) -> None:
        try:
            await ctx.wait_for(go)
        finally:
            async with ctx.shielded():
                await ctx.wait_for(go)
                await clean.run(ctx, "all of it")

    await place.worker(careful, clean)
    handle = await careful.enqueue(place.client)
    await eventually(in_state(handle, "awaiting_event"))
    await asyncio.gather(handle.cancel("one"), handle.cancel("two"))
    await handle.cancel("three")
    await handle.send(go, "clean up")
    with pytest.raises(WorkflowCancelled):
        await handle.wait_for_completion(SOON)
    assert cleaned == ["all of it"]
    assert [each.what for each in (await handle.describe()).messages if not each.ignored] == ["cancel", "event"]


async def test_a_clean_up_that_takes_too_long_ends(place: Place) -> None:
    @workflow(name="endless", cleanup=0.3)
    async def endless(ctx: Context) -> None:
        try:
            await ctx.wait_for(go)
        finally:
            await ctx.sleep(3600)

    await place.worker(endless)
    handle = await endless.enqueue(place.client)
    await eventually(in_state(handle, "awaiting_event"))
    await handle.cancel()
    with pytest.raises(WorkflowCancelled):
        await handle.wait_for_completion(SOON)


async def test_a_clean_up_that_fails_is_a_failure(place: Place) -> None:
    @workflow(name="clumsy", retry=Retry.fixed(max_attempts=5, delay=0.01))
    async def clumsy(ctx: Context) -> None:
        try:
            await ctx.wait_for(go)
        finally:
            raise OSError("the disk is full")

    await place.worker(clumsy)
    handle = await clumsy.enqueue(place.client)
    await eventually(in_state(handle, "awaiting_event"))
    await handle.cancel()
    with pytest.raises(WorkflowFailed) as failed:
        await handle.wait_for_completion(SOON)
    assert failed.value.error is not None
    assert failed.value.error.message == "the disk is full"
    assert (await handle.get_status()).attempts == 1


async def test_terminate_asks_nobody(place: Place) -> None:
    @workflow(name="stubborn")
    async def stubborn(ctx: Context) -> str:
        while True:
            try:
                await ctx.wait_for(go)
            except asyncio.CancelledError:
                await ctx.sleep(3600)

    await place.worker(stubborn)
    handle = await stubborn.enqueue(place.client)
    await eventually(in_state(handle, "awaiting_event"))
    await handle.cancel()
    await eventually(in_state(handle, "sleeping"))
    await handle.terminate("now")
    with pytest.raises(WorkflowCancelled) as ended:
        await handle.wait_for_completion(SOON)
    assert ended.value.error is not None
    assert ended.value.error.message == "now"


async def test_one_task_is_cancelled_and_told(place: Place) -> None:
    told = asyncio.Event()

    @task(name="long")
    async def long(number: int, call: TaskContext) -> int:
        while not call.cancelled:  # noqa: ASYNC110  # a body asks; a worker tells
            await asyncio.sleep(0.01)
        told.set()
        return number

    @workflow(name="two")
    async def two(ctx: Context) -> list[str]:
        async def one(number: int) -> str:
            try:
                return str(await long.run(ctx, number))
            except TaskCancelled as error:
                return f"{error.task}: {error.error.message if error.error else ''}"

        try:
            waited = await child.run(ctx)
        except ChildCancelled as error:
            waited = error.workflow
        return [waited, *await asyncio.gather(one(1), one(2))]

    await place.worker(two, long, child)
    handle = await two.enqueue(place.client)
    await eventually(in_state(handle, "awaiting_child"))
    await handle.cancel_task("nothing of that name")
    await handle.cancel_task("child")
    await eventually(in_state(handle, "awaiting_task"))
    await handle.cancel_task("long", "no need")
    assert await handle.wait_for_completion(SOON) == ["child", "long: 'long' was cancelled: no need", "long: 'long' was cancelled: no need"]
    async with asyncio.timeout(SOON):
        await told.wait()


async def test_bad_input(place: Place) -> None:
    await place.worker(waits, child)
    handle = await reach(place, "awaiting_event")
    await handle.resume()  # not paused: nothing happens
    await handle.wake()  # does not sleep: nothing happens
    nobody: RunHandle[Any] = waits.handle(place.client, "c" * 26)
    for call in (nobody.cancel, nobody.terminate, nobody.pause, nobody.resume, nobody.wake):
        with pytest.raises(RunNotFound):
            await call()
    with pytest.raises(RunNotFound):
        await nobody.cancel_task("x")
    await handle.send(go, "x")
    assert await handle.wait_for_completion(SOON) == "x"
    for call in (handle.cancel, handle.terminate, handle.pause, handle.resume, handle.wake):
        with pytest.raises(RunEnded):
            await call()
    assert [(each.what, each.ignored) for each in (await handle.describe()).messages] == [
        ("resume", True),
        ("wake", True),
        ("event", False),
    ]
