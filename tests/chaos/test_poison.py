"""Real processes that die of what they run: after some of them it is given up, and everything else goes on."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from aiki.client import RunHandle
from tests.chaos.fleet import Fleet
from tests.chaos.poison import healthy, poisoned_code, poisoned_step, poisoned_task, proceed

LIMIT = 100.0
MANNERS = ["exit", "segfault", "recursion", "memory"]


@contextlib.asynccontextmanager
async def supervised(folder: Path, workers: int) -> AsyncIterator[Fleet]:
    """A fleet whose workers are started anew when they die, as an orchestrator does."""

    async def supervise() -> None:
        while True:
            with contextlib.suppress(AssertionError):  # it may die before it says that it is ready
                process = await fleet.worker()
                await process.child.wait()
                fleet.workers.remove(process)

    async with Fleet(folder, "poison") as fleet:
        supervisors = [asyncio.create_task(supervise()) for _ in range(workers)]
        try:
            yield fleet
        finally:
            for supervisor in supervisors:
                supervisor.cancel()
            await asyncio.gather(*supervisors, return_exceptions=True)


async def letter_of(fleet: Fleet, run: RunHandle[Any]) -> Any:
    async with asyncio.timeout(LIMIT):
        while True:
            async for letter in fleet.client.dead_letters(run_id=run.id):
                return letter
            await asyncio.sleep(0.2)


def deaths(fleet: Fleet) -> int:
    return len(fleet.log.read_text().splitlines())


async def done(run: RunHandle[Any]) -> Any:
    return await run.wait_for_completion(timeout=LIMIT)


@pytest.mark.timeout(120)
async def test_a_task_that_ends_its_process_is_held_and_goes_on_when_it_is_cured(tmp_path: Path) -> None:
    async with supervised(tmp_path, 2) as fleet:
        victim = await poisoned_task.enqueue(fleet.client, "exit")
        others = [await healthy.enqueue(fleet.client, number) for number in range(20)]
        letter = await letter_of(fleet, victim)
        assert await asyncio.gather(*(done(other) for other in others)) == [3 * number + 3 for number in range(20)]
        assert (letter.kind, letter.task, letter.code, len(letter.workers)) == ("task", "deadly", "task_poisoned", 2)
        assert deaths(fleet) == 3  # the first leaves no evidence
        assert (await victim.get_status()).state == "stalled"
        fleet.log.with_suffix(".antidote").touch()
        await fleet.client.dead_letters().retry(letter.id)
        assert await done(victim) == "survived exit"


@pytest.mark.long
@pytest.mark.timeout(240)
@pytest.mark.parametrize("manner", MANNERS)
@pytest.mark.parametrize("flow", [poisoned_step, poisoned_code], ids=["step", "code"])
async def test_a_run_that_ends_its_process_is_held_with_its_mail(tmp_path: Path, flow: Any, manner: str) -> None:
    async with supervised(tmp_path, 2) as fleet:
        victim = await flow.enqueue(fleet.client, manner)
        others = [await healthy.enqueue(fleet.client, number) for number in range(20)]
        letter = await letter_of(fleet, victim)
        assert await asyncio.gather(*(done(other) for other in others)) == [3 * number + 3 for number in range(20)]
        assert (letter.kind, letter.code) == ("run", "run_poisoned")
        assert 6 <= deaths(fleet) <= 8
        before = deaths(fleet)
        await victim.send(proceed, 2)
        status = await victim.get_status()
        assert (status.state, status.error and status.error.code) == ("stalled", "run_poisoned")
        later = [await healthy.enqueue(fleet.client, number) for number in range(20)]
        assert await asyncio.gather(*(done(other) for other in later)) == [3 * number + 3 for number in range(20)]
        assert deaths(fleet) == before
        fleet.log.with_suffix(".antidote").touch()
        await fleet.client.dead_letters().retry(letter.id)
        assert await done(victim) == "1, 2"


@pytest.mark.long
@pytest.mark.timeout(120)
@pytest.mark.parametrize("manner", ["segfault", "recursion", "memory"])
async def test_each_manner_of_death_of_a_task_is_held(tmp_path: Path, manner: str) -> None:
    async with supervised(tmp_path, 1) as fleet:
        victim = await poisoned_task.enqueue(fleet.client, manner)
        letter = await letter_of(fleet, victim)
        assert deaths(fleet) == 3
        fleet.log.with_suffix(".antidote").touch()
        await fleet.client.dead_letters().retry(letter.id)
        assert await done(victim) == f"survived {manner}"
