"""Limits of tasks while workers stand still or die."""

import asyncio
from pathlib import Path

import pytest

from aiki.sdk import Worker
from tests.chaos.fleet import Fleet, Process
from tests.chaos.limits import DEADLINE, STEPS, bounded, climber, read_begins

pytestmark = [pytest.mark.long, pytest.mark.timeout(120)]


async def begun(fleet: Fleet, count: int) -> None:
    async with asyncio.timeout(20):
        while len(read_begins(fleet.log)) < count:  # noqa: ASYNC110  # another process writes the file
            await asyncio.sleep(0.01)


async def task_worker(fleet: Fleet, name: str) -> Process:
    """A worker that runs the tasks and holds no runs: these live in this process."""
    process = await fleet.spawn("worker", name, "tasks")
    assert await process.line() == "ready"
    return process


async def beaten(fleet: Fleet, run_id: str, least: int) -> None:
    """Until a heartbeat of that run has reached the server that says so much."""
    subjects, transport = fleet.client.subjects, fleet.client.transport
    async with asyncio.timeout(20):
        while True:
            stored = await transport.last(subjects.beats_stream, f"{subjects.beats_prefix}{run_id}.1")
            if stored is not None and int(stored.data.rpartition(b":")[2].rstrip(b"}")) >= least:
                return
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("manner", ["SIGKILL", "SIGSTOP"])
async def test_the_last_details_of_a_worker_that_is_gone_reach_the_next_attempt(tmp_path: Path, manner: str) -> None:
    async with Fleet(tmp_path) as fleet:
        holder = Worker(fleet.client)
        holder.registry.add(climber)
        async with holder:
            first = await task_worker(fleet, "first")
            handle = await climber.enqueue(fleet.client, STEPS)
            await beaten(fleet, handle.id, 10)
            if manner == "SIGKILL":
                await first.kill()
            else:
                first.pause()
            second = await task_worker(fleet, "second")
            async with asyncio.timeout(40):
                began, ended = await handle.wait_for_completion()
            assert ended == STEPS
            assert began >= 10
            begins = read_begins(fleet.log)
            assert [(pid, said) for _, pid, said in begins] == [(first.child.pid, None), (second.child.pid, {"done": began})]
            if manner == "SIGSTOP":
                first.resume()


@pytest.mark.parametrize("manner", ["SIGKILL", "SIGSTOP", "nothing"])
async def test_a_deadline_holds_whatever_becomes_of_the_worker(tmp_path: Path, manner: str) -> None:
    async with Fleet(tmp_path) as fleet:
        holder = Worker(fleet.client)
        holder.registry.add(bounded)
        async with holder:
            first = await task_worker(fleet, "first")
            handle = await bounded.enqueue(fleet.client)
            await begun(fleet, 1)
            if manner == "SIGKILL":
                await first.kill()
            elif manner == "SIGSTOP":
                first.pause()
            async with asyncio.timeout(30):
                limit, took = await handle.wait_for_completion()
            assert limit == "deadline"
            assert DEADLINE <= took < DEADLINE + 5
            first.resume() if manner == "SIGSTOP" else None
            (step,) = (await handle.describe()).steps
            assert step.error is not None and step.error.limit == "deadline"


async def test_a_deadline_holds_when_the_host_of_the_run_is_gone_too(tmp_path: Path) -> None:
    async with Fleet(tmp_path) as fleet:
        only = await fleet.spawn("worker", "only", "all")
        assert await only.line() == "ready"
        handle = await bounded.enqueue(fleet.client)
        await begun(fleet, 1)
        await only.kill()
        holder = Worker(fleet.client)
        holder.registry.add(bounded)
        async with holder, asyncio.timeout(30):
            limit, took = await handle.wait_for_completion()
        assert limit == "deadline"
        assert DEADLINE <= took < DEADLINE + 5
