"""Versions that are retired, and runs that the code does not fit, on the in-memory twin."""

from datetime import timedelta

import pytest

from aiki.sdk import ChildFailed, Context, Schedule, VersionRetired, Workflow, WorkflowFailed, event, task, workflow
from aiki.services.timer import TimerService
from aiki.testing import TestEnvironment
from aiki.types.errors import DefinitionError, NonDeterminismError

go_on = event("go_on", int)


@workflow(name="order", version="1")
async def order(ctx: Context) -> int:
    return await ctx.wait_for(go_on)


@workflow(name="shop")
async def shop(ctx: Context) -> str:
    try:
        return str(await order.run(ctx))
    except ChildFailed as error:
        return str(error)


async def test_a_retired_version_takes_no_new_runs_and_drains() -> None:
    async with TestEnvironment.in_memory() as env:
        await env.worker(order)
        running = await order.enqueue(env.client, idempotency_key="first")
        await env.advance(1)
        await env.client.retire_version("order", "1", "use 2")
        with pytest.raises(VersionRetired, match="use 2") as caught:
            await order.enqueue(env.client)
        assert (caught.value.workflow, caught.value.version) == ("order", "1")
        with pytest.raises(VersionRetired):
            await order.enqueue(env.client, idempotency_key="second")
        assert (await order.enqueue(env.client, idempotency_key="first")).id == running.id
        view = await env.client.version("order", "1")
        assert (view.retired, view.drained, view.runs, view.reason) == (True, False, {"awaiting_event": 1}, "use 2")
        await running.send(go_on, 3)
        assert await running.wait_for_completion() == 3
        view = await env.client.version("order", "1")
        assert (view.drained, view.runs) == (True, {"completed": 1})
        await env.client.unretire_version("order", "1")
        again = await order.enqueue(env.client)
        await again.send(go_on, 4)
        assert await again.wait_for_completion() == 4
        assert await env.client.versions("order") == []


async def test_others_hear_of_a_retirement_within_seconds() -> None:
    async with TestEnvironment.in_memory() as env:
        other = env.client.in_region("default")
        assert other is env.client
        await env.worker(order)
        await order.enqueue(env.client)  # remembers that it was open
        from aiki.client.versions import retire

        client = type(env.client)(env.client.transport, clock=env.client.clock, reads_server_clock=False)
        await retire(client, "order", "1", "")
        await env.advance(5.1)
        with pytest.raises(VersionRetired):
            await order.enqueue(env.client)


async def test_a_child_of_a_retired_version_fails() -> None:
    async with TestEnvironment.in_memory() as env:
        await env.worker(order, shop)
        await env.client.retire_version("order", "1", "use 2")
        said = await env.run(shop)
        assert "VersionRetired" in said
        assert "use 2" in said


async def test_a_schedule_notes_that_it_was_refused() -> None:
    async with TestEnvironment.in_memory() as env, TimerService(env.client):
        await env.worker(order)
        schedule = await order.schedule(env.client, Schedule.every(timedelta(minutes=1)), id="often")
        await env.client.retire_version("order", "1", "use 2")
        await env.advance(150)
        view = await schedule.describe()
        assert {firing.outcome for firing in view.recent} == {"refused"}
        assert "use 2" in view.recent[0].reason
        assert view.counts["refused"] == len(view.recent)
        assert view.counts["fired"] == 0
        assert (await env.client.version("order", "1")).schedules == ("often",)
        assert [run async for run in env.client.runs()] == []
        await schedule.delete()


@task(name="old", local=True)
async def old(number: int) -> int:
    return number


@task(name="new", local=True)
async def new(number: int) -> int:
    return number


def changed(step: str, on_nondeterminism: str = "hold") -> Workflow[None, int]:
    @workflow(name="changing", on_nondeterminism=on_nondeterminism)  # type: ignore[arg-type]
    async def changing(ctx: Context) -> int:
        first = await (old if step == "old" else new).run(ctx, 1)
        return first + await ctx.wait_for(go_on)

    return changing


async def test_a_run_that_the_code_does_not_fit_is_held_until_a_fixed_worker_comes() -> None:
    async with TestEnvironment.in_memory() as env:
        first = await env.worker(changed("old"))
        handle = await changed("old").enqueue(env.client)
        await env.advance(1)
        before = await handle.history()
        await env.crash_worker(first)
        wrong = await env.worker(changed("new"))
        await handle.send(go_on, 5)
        await env.advance(1)
        status = await handle.get_status()
        assert status.state == "stalled"
        assert status.error is not None
        assert status.error.code == "non_determinism"
        assert "entry 1: old #1" in status.error.message
        assert "new #1" in status.error.message
        assert [step.name for step in (await handle.describe()).steps] == ["old"]
        await env.advance(100)
        assert len((await handle.history()).segments) == len(before.segments)
        await env.crash_worker(wrong)
        await env.worker(changed("old"))
        assert await handle.wait_for_completion(timeout=60) == 6


async def test_by_default_it_fails() -> None:
    async with TestEnvironment.in_memory() as env:
        first = await env.worker(changed("old", "fail"))
        handle = await changed("old", "fail").enqueue(env.client)
        await env.advance(1)
        await env.crash_worker(first)
        await env.worker(changed("new", "fail"))
        await handle.send(go_on, 5)
        with pytest.raises(WorkflowFailed) as caught:
            await handle.wait_for_completion()
        assert caught.value.error.code == NonDeterminismError.code
        assert "old #1" in caught.value.error.message


def test_what_cannot_be_declared() -> None:
    with pytest.raises(DefinitionError, match="on_nondeterminism"):
        changed("old", "perhaps")
    with pytest.raises(DefinitionError, match="max_deaths"):
        task(name="x", max_deaths=0)(lambda: None)
    with pytest.raises(DefinitionError, match="on_poison"):
        task(name="x", on_poison="ignore")(lambda: None)  # type: ignore[arg-type]
