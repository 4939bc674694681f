"""Workers with runs that have places are killed: the runs go on, no limit is broken, and everybody has his turn."""

import asyncio
import random
from pathlib import Path

import pytest

from tests.chaos.fleet import Fleet
from tests.chaos.gates import Load, read_spans
from tests.chaos.places import occupied
from tests.chaos.test_gates import most_at_work


@pytest.mark.timeout(90)
async def test_workers_that_hold_places_are_killed(tmp_path: Path) -> None:
    chance = random.Random(3)
    async with Fleet(tmp_path, serves="places") as fleet:
        await asyncio.gather(*(fleet.worker() for _ in range(2)))
        loads = [Load("abc"[number % 3], number) for number in range(24)]
        handles = [await occupied.enqueue(fleet.client, load) for load in loads]
        for _ in range(3):
            begun = len(read_spans(fleet.log))
            async with asyncio.timeout(20):
                while len(read_spans(fleet.log)) < begun + chance.randrange(3, 8):  # noqa: ASYNC110  # other processes write the file
                    await asyncio.sleep(0.01)
            await fleet.replace(chance.choice(fleet.workers))
        async with asyncio.timeout(60):
            results = await asyncio.gather(*(handle.wait_for_completion() for handle in handles))
        assert results == [load.number for load in loads]
        most, each = most_at_work(fleet.log)
        assert (most, each) == (3, 1)
