"""Clients and workers that come and go, and what can be seen of a run meanwhile."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from aiki.journal import decode_state
from aiki.sdk import Context, ResultTimeout, RunNotFound, TaskContext, WorkflowFailed, task, workflow
from aiki.transport import EmbeddedNats
from tests.integration.engine.place import Place, eventually

SOON = 20.0


class Gate:
    """A task that waits until the test lets it go, and says when it has begun."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.open = asyncio.Event()
        self.runs: list[str] = []

        @task(name="gate")
        async def gate(name: str, info: TaskContext) -> str:
            self.runs.append(name)
            self.began.set()
            await asyncio.wait_for(self.open.wait(), SOON)
            return name

        self.task = gate

        @workflow(name="gated")
        async def gated(ctx: Context, name: str) -> str:
            return await gate.run(ctx, name)

        self.workflow = gated


async def test_whoever_waits_is_told(place: Place) -> None:
    gate = Gate()
    handle = await gate.workflow.enqueue(place.client, "a")
    other = await place.connect()
    by_id = gate.workflow.handle(other, handle.id)
    untyped = await other.handle(handle.id)
    assert (untyped.workflow, untyped.version) == ("gated", "1.0.0")
    waiting = [asyncio.create_task(each.wait_for_completion(timeout=SOON)) for each in (handle, handle, by_id, untyped)]
    await place.worker(gate.workflow, gate.task)
    await asyncio.wait_for(gate.began.wait(), SOON)
    with pytest.raises(ResultTimeout) as caught:
        await by_id.wait_for_completion(timeout=0.05)
    assert caught.value.fields == {"run_id": handle.id, "timeout": 0.05}
    assert not any(each.done() for each in waiting)
    gate.open.set()
    assert await asyncio.gather(*waiting) == ["a"] * 4
    assert [await each.wait_for_completion(timeout=SOON) for each in (handle, by_id, untyped)] == ["a"] * 3
    assert await gate.workflow.handle(await place.connect(), handle.id).wait_for_completion(timeout=SOON) == "a"


async def test_a_failure_is_told_with_its_cause(place: Place) -> None:
    @workflow(name="fails")
    async def fails(ctx: Context) -> None:
        try:
            raise LookupError("inner")
        except LookupError as error:
            raise ValueError("outer") from error

    await place.worker(fails)
    handle = await fails.enqueue(place.client)
    for each in (handle, fails.handle(await place.connect(), handle.id)):
        with pytest.raises(WorkflowFailed, match="outer") as caught:
            await each.wait_for_completion(timeout=SOON)
        error = caught.value.fields["error"]
        assert (error.type, error.message, error.cause.type, error.cause.message) == ("ValueError", "outer", "LookupError", "inner")
        assert "raise ValueError" in error.traceback


async def test_the_status_at_each_stage(place: Place) -> None:
    gate = Gate()
    handle = await gate.workflow.enqueue(place.client, "a")
    status = await handle.get_status()
    assert (status.state, status.attempts, status.started_at, status.finished_at) == ("queued", 0, None, None)
    view = await handle.describe()
    assert (view.status, view.input, view.steps) == (status, "a", ())
    assert [(run.id, run.state) async for run in place.client.runs()] == [(handle.id, "queued")]

    await place.worker(gate.workflow, gate.task)
    await asyncio.wait_for(gate.began.wait(), SOON)
    status = await handle.get_status()
    assert (status.state, status.attempts, status.waiting_on) == ("awaiting_task", 1, ("task gate",))
    assert status.started_at is not None and status.started_at >= status.created_at
    [step] = (await handle.describe()).steps
    assert (step.state, step.output, step.attempts, step.finished_at) == ("running", None, 1, None)

    gate.open.set()
    await handle.wait_for_completion(timeout=SOON)
    status = await handle.get_status()
    assert (status.state, status.waiting_on, status.error) == ("completed", (), None)
    assert status.finished_at is not None and status.started_at is not None and status.finished_at >= status.started_at
    view = await handle.describe()
    assert (view.output, [(step.state, step.output) for step in view.steps]) == ("a", [("completed", "a")])


async def test_runs_are_listed_and_filtered(place: Place) -> None:
    @workflow(name="good")
    async def good(ctx: Context) -> None:
        return None

    @workflow(name="bad")
    async def bad(ctx: Context) -> None:
        raise ValueError

    await place.worker(good, bad)
    handles = []
    for each in (good, bad, good, bad, good):
        handle = await each.enqueue(place.client)
        handles.append(handle)
        with pytest.raises(WorkflowFailed) if each is bad else _nothing():
            await handle.wait_for_completion(timeout=SOON)

    async def ids(**filters: Any) -> set[str]:
        return {run.id async for run in place.client.runs(**filters)}

    assert await ids() == {handle.id for handle in handles}
    assert await ids(workflow="good") == await ids(state="completed") == {handles[number].id for number in (0, 2, 4)}
    assert await ids(workflow="bad", state="failed") == {handles[number].id for number in (1, 3)}
    assert await ids(workflow="bad", state="completed") == await ids(workflow="none") == set()
    assert len(await ids(limit=2)) == 2
    ordered = [run.id async for run in place.client.runs()]
    assert ordered == sorted(ordered, reverse=True)


class _nothing:
    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...


async def test_a_run_expires_after_its_retention(place: Place) -> None:
    @task(name="blob", local=True)
    async def blob(number: int) -> str:
        return str(number % 10) * 30_000

    @workflow(name="brief")
    async def brief(ctx: Context) -> int:
        return sum([len(await blob.run(ctx, number)) for number in range(5)])

    await place.worker(brief, retention=1)
    handle = await brief.enqueue(place.client)
    assert await handle.wait_for_completion(timeout=SOON) == 150_000
    assert (await handle.get_status()).state == "completed"
    stream, prefix = place.client.subjects.runs_stream, place.client.subjects.runs_prefix
    assert len(await place.client.transport.subjects(stream, prefix + ">")) > 1, "it has sealed segments"

    async def gone() -> bool:
        return await place.client.transport.subjects(stream, prefix + ">") == []

    await eventually(gone)
    with pytest.raises(RunNotFound):
        await handle.get_status()
    with pytest.raises(RunNotFound):
        await handle.wait_for_completion(timeout=SOON)
    assert [run async for run in place.client.runs()] == []


async def test_two_workers_share_the_load(place: Place) -> None:
    """Each takes one task at a time, and all four must be at work together."""
    meeting = asyncio.Barrier(4)

    @task(name="meets")
    async def meets(number: int) -> int:
        await asyncio.wait_for(meeting.wait(), SOON)
        return number

    @workflow(name="shared")
    async def shared(ctx: Context, number: int) -> int:
        return await meets.run(ctx, number)

    for name in ("a", "b", "c", "d"):
        await place.worker(shared, meets, id=name, max_concurrent_tasks=1)
    handles = [await shared.enqueue(place.client, number) for number in range(8)]
    assert await asyncio.gather(*(handle.wait_for_completion(timeout=SOON) for handle in handles)) == list(range(8))
    workers = [str(step.worker) for handle in handles for step in (await handle.describe()).steps]
    assert sorted(set(workers)) == ["a", "b", "c", "d"]


async def test_a_worker_that_stops_hands_its_work_over_at_once(place: Place) -> None:
    """At once means: sooner than the 3 s after which the work of a silent worker is given away."""
    gate = Gate()
    first = await place.worker(gate.workflow, gate.task, id="first")
    handle = await gate.workflow.enqueue(place.client, "a")
    await asyncio.wait_for(gate.began.wait(), SOON)
    gate.began.clear()
    await first.stop(0.05)
    await place.worker(gate.workflow, gate.task, id="second")
    await asyncio.wait_for(gate.began.wait(), 2.0)
    gate.open.set()
    assert await handle.wait_for_completion(timeout=SOON) == "a"
    [step] = (await handle.describe()).steps
    assert step.worker == "second" and gate.runs == ["a", "a"]


async def test_a_worker_that_stops_gives_its_work_time_to_end(place: Place) -> None:
    gate = Gate()
    first = await place.worker(gate.workflow, gate.task, id="first")
    handle = await gate.workflow.enqueue(place.client, "a")
    await asyncio.wait_for(gate.began.wait(), SOON)
    stopping = asyncio.create_task(first.stop(SOON))
    gate.open.set()
    await asyncio.wait_for(stopping, SOON)
    await place.worker(gate.workflow)
    assert await handle.wait_for_completion(timeout=SOON) == "a"
    assert gate.runs == ["a"]


async def test_the_roster_knows_who_is_there(place: Place) -> None:
    gate = Gate()
    worker = await place.worker(gate.workflow, gate.task, id="one", queue="q")

    async def reported() -> bool:
        return [(each.id, each.queue, each.workflows, each.tasks) for each in await place.client.workers()] == [
            ("one", "q", (("gated", "1.0.0"),), ("gate",))
        ]

    await eventually(reported)
    await worker.stop()
    assert await place.client.workers() == []


@pytest.mark.parametrize("cached", [0, 5000])
async def test_a_long_run_is_sealed_and_replayed_from_its_segments(place: Place, cached: int) -> None:
    ran: list[int] = []
    gate = Gate()

    @task(name="record", local=True)
    async def record(number: int) -> dict[str, str]:
        ran.append(number)
        return {"number": str(number), "filling": "x" * 500}

    @workflow(name="long")
    async def long(ctx: Context) -> list[int]:
        found = []
        for number in range(400):
            found.append(int((await record.run(ctx, number))["number"]))
            if number == 350:
                await gate.task.run(ctx, "pause")
        return found

    first = await place.worker(long, gate.task, cached_runs=cached)
    handle = await long.enqueue(place.client)
    await asyncio.wait_for(gate.began.wait(), SOON)
    loaded = await place.client.load(handle.id)
    assert loaded is not None
    assert len(loaded[0].sealed) >= 3 and sum(memoryview(entry).nbytes for entry in loaded[0].entries) < 64 * 1024
    if cached:
        await first.stop(0.05)
        await place.worker(long, gate.task)
    gate.open.set()
    assert await handle.wait_for_completion(timeout=SOON) == list(range(400))
    assert ran == list(range(400)), "no recorded step has run again"
    view = await handle.describe()
    assert [step.input for step in view.steps if step.name == "record"] == list(range(400))


async def test_waiting_outlives_a_restart_of_the_server(tmp_path: Path) -> None:
    gate = Gate()
    async with EmbeddedNats(store=tmp_path / "store") as server:
        place = Place(server)
        await place.open()
        try:
            await place.worker(gate.workflow, gate.task)
            other = await place.connect()
            handle = await gate.workflow.enqueue(place.client, "a")
            waiting = [
                asyncio.create_task(each.wait_for_completion(timeout=SOON)) for each in (handle, gate.workflow.handle(other, handle.id))
            ]
            await asyncio.wait_for(gate.began.wait(), SOON)
            await server.restart()
            gate.open.set()
            assert await asyncio.gather(*waiting) == ["a", "a"]
            second = await gate.workflow.enqueue(place.client, "b")
            assert await second.wait_for_completion(timeout=SOON) == "b"
        finally:
            await place.close()


async def test_an_enqueue_while_the_server_is_away_is_stored_once(tmp_path: Path) -> None:
    ran: list[str] = []

    @workflow(name="note")
    async def note(ctx: Context, text: str) -> str:
        async def body() -> str:
            ran.append(text)
            return text

        return await ctx.step("note", body)

    async with EmbeddedNats(store=tmp_path / "store") as server:
        place = Place(server)
        await place.open()
        try:
            await server.kill()
            starting = asyncio.create_task(note.enqueue(place.client, "a"))
            await server.restart()
            handle = await asyncio.wait_for(starting, SOON)
            await place.worker(note)
            assert await handle.wait_for_completion(timeout=SOON) == "a"
            assert ran == ["a"]
        finally:
            await place.close()


async def test_every_commit_is_announced_live(place: Place) -> None:
    gate = Gate()
    seen: list[str] = []
    handle = await gate.workflow.enqueue(place.client, "a")
    subject = place.client.subjects.live_prefix + handle.id
    watching = await place.client.transport.subscribe(subject, lambda message: seen.append(decode_state(message.data).status))
    await place.worker(gate.workflow, gate.task)
    gate.open.set()
    await handle.wait_for_completion(timeout=SOON)

    async def complete() -> bool:
        return seen == ["awaiting_task", "completed"]

    await eventually(complete)
    await watching.stop()
