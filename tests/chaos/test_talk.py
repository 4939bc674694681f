"""Messages to runs while workers are killed at any instant."""

import asyncio
import random
from collections import Counter
from pathlib import Path

import pytest

from aiki.sdk import WorkflowCancelled
from tests.chaos.fleet import Fleet
from tests.chaos.talk import account, collect, guard, number, tree

EVENTS = 400


async def send_in_order(fleet: Fleet, chance: random.Random) -> None:
    handle = await collect.enqueue(fleet.client, EVENTS)
    for value in range(EVENTS):
        await handle.send(number, value, idempotency_key=str(value))
        if chance.random() < 0.1:
            await handle.send(number, value, idempotency_key=str(value))
        if chance.random() < 0.02:
            await handle.pause()
            await handle.resume()
        await asyncio.sleep(0.01)
    assert await handle.wait_for_completion() == list(range(EVENTS))
    view = await handle.describe()
    assert [each.payload for each in view.messages if each.what == "event"] == list(range(EVENTS))


async def grow(fleet: Fleet) -> None:
    handle = await tree.enqueue(fleet.client, 4)
    assert await handle.wait_for_completion() == 3**4
    view = await handle.describe(tree=True)
    assert {child.state for child in view.children} == {"completed"}


async def cancel(fleet: Fleet, id: int, after: float) -> None:
    handle = await guard.enqueue(fleet.client, id)
    await asyncio.sleep(after)
    await handle.cancel("enough")
    with pytest.raises(WorkflowCancelled):
        await handle.wait_for_completion()
    steps = (await handle.describe()).steps
    assert steps, "it had begun"
    assert [step.state for step in steps if step.name == "note"] == ["completed"]
    assert max(Counter((step.address, step.ordinal) for step in steps).values()) == 1


async def book(fleet: Fleet) -> None:
    handle = await account.enqueue(fleet.client, 40)
    answers = [await handle.update("book", amount, idempotency_key=str(amount)) for amount in range(40)]
    assert answers == list(range(1, 41))
    assert await handle.wait_for_completion() == list(range(40))


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", range(2))
async def test_talking_to_runs_whose_workers_are_killed(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    async with Fleet(tmp_path, "talk") as fleet:
        await asyncio.gather(*(fleet.worker() for _ in range(2)))
        kills = 0

        async def reaper() -> None:
            nonlocal kills
            while True:
                await asyncio.sleep(chance.uniform(0.1, 1))
                await fleet.replace(chance.choice(fleet.workers))
                kills += 1

        reaping = asyncio.create_task(reaper())
        async with asyncio.timeout(300), asyncio.TaskGroup() as group:
            group.create_task(send_in_order(fleet, random.Random(seed)))
            group.create_task(grow(fleet))
            group.create_task(book(fleet))
            for id in range(4):
                group.create_task(cancel(fleet, id, chance.uniform(1, 8)))
        reaping.cancel()
        await asyncio.gather(reaping, return_exceptions=True)
        print(f"{kills} workers killed")
        assert kills
