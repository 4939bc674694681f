"""Workers that hold places of a gate, or keep it, are killed: no limit is broken, no place stays taken, nothing is lost."""

import asyncio
import random
from pathlib import Path

import pytest

from tests.chaos.fleet import Fleet
from tests.chaos.gates import ALL, EACH, Load, haul, read_spans


def most_at_work(log: Path) -> tuple[int, int]:
    """Steps at work at a time: of all, and of one customer. That of a body that was killed is at work until another has ended."""
    active: dict[str, str] = {}
    most = each = 0
    for _, _, what, step, customer in read_spans(log):
        if what == "end":
            active.pop(step, None)
            continue
        active[step] = customer
        most = max(most, len(active))
        each = max(each, sum(of == customer for of in active.values()))
    return most, each


async def kill_holders(folder: Path, *, runs: int, loads: int, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    async with Fleet(folder, serves="gates") as fleet:
        await asyncio.gather(*(fleet.worker() for _ in range(3)))
        orders = [[Load(chance.choice("abcdef"), number) for number in range(loads)] for _ in range(runs)]
        handles = [await haul.enqueue(fleet.client, each) for each in orders]
        for _ in range(kills):
            begun = len(read_spans(fleet.log))
            async with asyncio.timeout(20):
                while len(read_spans(fleet.log)) < begun + chance.randrange(4, 12):  # noqa: ASYNC110  # other processes write the file
                    await asyncio.sleep(0.01)
            await fleet.replace(chance.choice(fleet.workers))
        async with asyncio.timeout(60):
            results = await asyncio.gather(*(handle.wait_for_completion() for handle in handles))
        assert results == [[load.number for load in each] for each in orders]
        most, each = most_at_work(fleet.log)
        assert most == ALL
        assert each == EACH
        subjects = fleet.client.subjects
        assert await fleet.client.transport.subjects(subjects.task_stream, subjects.wait_prefix + ">") == []


@pytest.mark.timeout(90)
async def test_workers_that_hold_places_are_killed(tmp_path: Path) -> None:
    await kill_holders(tmp_path, runs=4, loads=12, kills=3, seed=1)


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_workers_that_hold_places_are_killed_many_times(tmp_path: Path) -> None:
    await kill_holders(tmp_path, runs=20, loads=30, kills=25, seed=2)


@pytest.mark.timeout(90)
async def test_a_keeper_that_stands_still_for_six_seconds(tmp_path: Path) -> None:
    """Another has kept the gate meanwhile; when it goes on, it believes that it still does."""
    async with Fleet(tmp_path, serves="gates") as fleet:
        first = await fleet.worker()
        orders = [[Load("abcdef"[number % 6], number) for number in range(60)] for _ in range(3)]
        handles = [await haul.enqueue(fleet.client, each) for each in orders]
        async with asyncio.timeout(20):
            while not read_spans(fleet.log):  # noqa: ASYNC110  # another process writes the file
                await asyncio.sleep(0.01)
        await fleet.worker()
        (view,) = await fleet.client.limits("hold")
        assert view.keeper == "worker-1"
        first.pause()
        await asyncio.sleep(6)
        first.resume()
        async with asyncio.timeout(60):
            results = await asyncio.gather(*(handle.wait_for_completion() for handle in handles))
        assert results == [[load.number for load in each] for each in orders]
        assert most_at_work(fleet.log) == (ALL, EACH)
        (view,) = await fleet.client.limits("hold")
        assert (view.waiting, view.keeper) == (0, "worker-2")


@pytest.mark.timeout(90)
async def test_a_server_is_killed_while_calls_are_let_in(tmp_path: Path) -> None:
    async with Fleet(tmp_path, serves="gates") as fleet:
        await asyncio.gather(fleet.worker(), fleet.worker())
        orders = [[Load("abcdef"[number % 6], number) for number in range(20)] for _ in range(3)]
        handles = [await haul.enqueue(fleet.client, each) for each in orders]
        for _ in range(2):
            begun = len(read_spans(fleet.log))
            async with asyncio.timeout(20):
                while len(read_spans(fleet.log)) < begun + 10:  # noqa: ASYNC110  # other processes write the file
                    await asyncio.sleep(0.01)
            await fleet.crash_server()
        async with asyncio.timeout(60):
            results = await asyncio.gather(*(handle.wait_for_completion() for handle in handles))
        assert results == [[load.number for load in each] for each in orders]
        assert most_at_work(fleet.log) == (ALL, EACH)
