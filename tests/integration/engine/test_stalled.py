"""Runs that nobody takes up who could: they show as stalled, say what is missing, and go on when it comes."""

import asyncio

import pytest

from aiki.sdk import Client, Context, DefinitionError, task, workflow
from tests.integration.engine.place import Place, eventually

AFTER = 0.2
"""Seconds."""


@task(name="far", queue="elsewhere")
async def far(value: int) -> int:
    return value + 1


@workflow(name="needs-far")
async def needs_far(ctx: Context, value: int) -> int:
    return await far.run(ctx, value)


async def looking(place: Place, after: float = AFTER) -> Client:
    """A client that loses patience soon."""
    client = await place.connect()
    client.stalls.after = after
    return client


async def test_a_run_whose_workflow_nobody_serves(place: Place) -> None:
    client = await looking(place)
    handle = await needs_far.enqueue(client, 1)
    assert (await handle.get_status()).state == "queued"

    async def stalled() -> bool:
        return (await handle.get_status()).state == "stalled"

    await eventually(stalled)
    status = await handle.get_status()
    assert status.waiting_on == ("a worker with workflow 'needs-far' version '1.0.0': nobody serves it",)
    assert (await handle.describe()).status == status
    assert [run.id async for run in client.runs(state="stalled")] == [handle.id]
    assert [run async for run in client.runs(state="queued")] == []
    await place.worker(needs_far, far, queue="elsewhere")
    assert await handle.wait_for_completion(timeout=10) == 2
    assert (await handle.get_status()).state == "completed"


async def test_a_task_whose_queue_nobody_serves(place: Place) -> None:
    client = await looking(place)
    await place.worker(needs_far)
    handle = await needs_far.enqueue(client, 1)

    async def stalled() -> bool:
        return (await handle.get_status()).state == "stalled"

    await eventually(stalled)
    assert (await handle.get_status()).waiting_on == ("a worker with task 'far' in queue 'elsewhere': nobody serves it",)
    assert [run.id async for run in client.runs(state="stalled")] == [handle.id]
    await place.worker(far)
    assert await handle.wait_for_completion(timeout=10) == 2
    assert [run async for run in client.runs(state="stalled")] == []


async def test_what_is_served_is_not_stalled_however_long_it_takes(place: Place) -> None:
    client = await looking(place, after=0.0)
    go = asyncio.Event()

    @task(name="slow")
    async def slow(value: int) -> int:
        await go.wait()
        return value

    @workflow(name="patient")
    async def patient(ctx: Context, value: int) -> int:
        return await slow.run(ctx, value)

    await place.worker(patient, slow)
    handle = await patient.enqueue(client, 7)

    async def dispatched() -> bool:
        return (await handle.get_status()).state == "awaiting_task"

    await eventually(dispatched)
    assert [run.state async for run in client.runs()] == ["awaiting_task"]
    go.set()
    assert await handle.wait_for_completion(timeout=10) == 7


async def test_the_patience_comes_from_the_environment(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIKI_STALLED_AFTER", "7.5")
    assert (await place.connect()).stalls.after == 7.5
    monkeypatch.setenv("AIKI_STALLED_AFTER", "soon")
    with pytest.raises(DefinitionError, match="AIKI_STALLED_AFTER"):
        await Client.connect(place.server.url)
