"""Workers killed while a saga compensates, on NATS: each step is undone, once, in reverse order."""

import asyncio
from pathlib import Path

import pytest

from aiki.client import RunHandle
from aiki.sdk import WorkflowFailed
from tests.chaos.fleet import Fleet, Process
from tests.chaos.program import read_log
from tests.chaos.sagas import STEPS, trip

pytestmark = pytest.mark.timeout(90)


async def worker(fleet: Fleet, number: int) -> Process:
    process = await fleet.spawn("worker", f"worker-{number}", "sagas")
    assert await process.line() == "ready"
    return process


async def bodies(fleet: Fleet, count: int) -> None:
    async with asyncio.timeout(30):
        while len(read_log(fleet.log)) < count:  # noqa: ASYNC110  # another process writes the file
            await asyncio.sleep(0.005)


async def check(fleet: Fleet, handle: RunHandle[int], attempts: int, *, standing: int) -> None:
    """Each attempt packed everything; what was unpacked was what had been packed last."""
    steps = (await handle.describe()).steps
    packed: list[object] = []
    undone = []
    for step in sorted(steps, key=lambda step: str(step.finished_at)):
        assert step.state == "completed"
        if step.name == "pack":
            packed.append(step.output)
        elif step.name == "unpack":
            assert packed.pop() == step.output
            undone.append(step.output)
    assert (len(packed), len(undone), len(set(undone))) == (standing, STEPS * attempts - standing, STEPS * attempts - standing)


async def test_a_worker_killed_in_the_middle_of_compensating(tmp_path: Path) -> None:
    async with Fleet(tmp_path) as fleet:
        first = await worker(fleet, 1)
        handle = await trip.enqueue(fleet.client, 3)
        for number, count in enumerate((STEPS + 3, 3 * STEPS + 6), 2):
            await bodies(fleet, count)
            await first.kill()
            first = await worker(fleet, number)
        with pytest.raises(WorkflowFailed, match="the trip is off"):
            await handle.wait_for_completion(timeout=60)
        await check(fleet, handle, 3, standing=0)
        processes = {pid for _, _, pid in read_log(fleet.log)}
        assert len(processes) == 3


async def test_the_attempt_after_a_compensation_does_everything_again(tmp_path: Path) -> None:
    async with Fleet(tmp_path) as fleet:
        first = await worker(fleet, 1)
        handle = await trip.enqueue(fleet.client, 1)
        await bodies(fleet, STEPS + STEPS // 2)
        await first.kill()
        await worker(fleet, 2)
        assert await handle.wait_for_completion(timeout=60) == 2
        await check(fleet, handle, 2, standing=STEPS)
