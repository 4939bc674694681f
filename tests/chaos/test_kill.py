"""Processes that die at any instant: nothing that was acknowledged is lost, and nothing that was recorded is done again."""

import asyncio
import random
from pathlib import Path

import pytest

from aiki.client import RunHandle
from aiki.sdk import ResultTimeout
from aiki.types.errors import AikiError
from tests.chaos.fleet import Fleet
from tests.chaos.program import journey


def bodies(runs: int, stages: int) -> int:
    """How many bodies begin at least: five steps a stage, one of which needs a second attempt."""
    return runs * stages * 6


async def kill_workers(folder: Path, *, runs: int, stages: int, workers: int, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    async with Fleet(folder) as fleet:
        await asyncio.gather(*(fleet.worker() for _ in range(workers)))
        handles = await fleet.start(runs, stages)
        killed = 0
        while killed < kills and await fleet.at_work(chance.randrange(1, 30), bodies(runs, stages)):
            await fleet.replace(chance.choice(fleet.workers))
            killed += 1
        assert killed, "the runs were over before anybody could be killed"
        await fleet.check(handles, stages)


@pytest.mark.timeout(90)
async def test_workers_killed_while_runs_go_on(tmp_path: Path) -> None:
    await kill_workers(tmp_path, runs=12, stages=6, workers=2, kills=3, seed=1)


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_workers_killed_many_times(tmp_path: Path) -> None:
    await kill_workers(tmp_path, runs=80, stages=20, workers=3, kills=40, seed=2)


async def test_the_only_worker_killed_and_another_takes_over(tmp_path: Path) -> None:
    async with Fleet(tmp_path) as fleet:
        first = await fleet.worker()
        handles = await fleet.start(4, 4)
        assert await fleet.at_work(15, bodies(4, 4))
        await first.kill()
        with pytest.raises(ResultTimeout):
            await handles[0].wait_for_completion(timeout=0.01)
        await fleet.worker()
        await fleet.check(handles, 4)


async def kill_servers(folder: Path, *, runs: int, stages: int, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    async with Fleet(folder) as fleet:
        await asyncio.gather(fleet.worker(), fleet.worker())
        acknowledged: list[RunHandle[int]] = []
        ended = asyncio.Event()

        async def starts() -> None:
            while len(acknowledged) < runs and not ended.is_set():
                try:
                    acknowledged.append(await journey.enqueue(fleet.client, stages))
                except AikiError:
                    continue  # not acknowledged: nothing was promised
                await asyncio.sleep(0.005)

        starting = asyncio.create_task(starts())
        killed = 0
        while killed < kills and await fleet.at_work(chance.randrange(10, 60), bodies(runs, stages)):
            await fleet.crash_server()
            killed += 1
        assert killed
        await asyncio.wait_for(starting, 30)
        ended.set()
        assert len(acknowledged) == runs
        await fleet.check(acknowledged, stages)


@pytest.mark.timeout(90)
async def test_a_server_killed_while_runs_start_and_go_on(tmp_path: Path) -> None:
    await kill_servers(tmp_path, runs=20, stages=4, kills=2, seed=3)


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_a_server_killed_many_times(tmp_path: Path) -> None:
    await kill_servers(tmp_path, runs=200, stages=8, kills=15, seed=4)


@pytest.mark.timeout(90)
async def test_a_worker_that_stands_still_for_six_seconds(tmp_path: Path) -> None:
    """Twice as long as it takes until its work is given to others; when it goes on, it believes that all is still its own."""
    async with Fleet(tmp_path) as fleet:
        first, _ = await asyncio.gather(fleet.worker(), fleet.worker())
        handles = await fleet.start(10, 8)
        assert await fleet.at_work(30, bodies(10, 8))
        first.pause()
        await asyncio.sleep(6)
        first.resume()
        await fleet.check(handles, 8)


@pytest.mark.timeout(90)
async def test_a_client_killed_after_its_enqueue_has_returned(tmp_path: Path) -> None:
    async with Fleet(tmp_path) as fleet:
        client = await fleet.spawn("starter", "1000", "3")
        ids = [await client.line() for _ in range(10)]
        await client.kill()
        await fleet.worker()
        await fleet.check([journey.handle(fleet.client, run_id) for run_id in ids], 3)
