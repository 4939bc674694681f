"""The cache under faults: nothing that was invalidated is used again, whoever dies, whatever is lost; and every run ends right."""

import asyncio
import os
import random
from typing import Any

import pytest

from aiki.actors.results import REMEMBERED, WITHIN
from aiki.clock import VirtualClock, run_virtual
from aiki.sdk import Cache, Client, Context, TaskContext, task, workflow
from aiki.transport import Faults
from aiki.types.errors import TransportError
from tests.simulation.fleet import Fleet

SEEDS = int(os.environ.get("AIKI_SEEDS", "40"))
FAULTS = Faults(lose=0.02, double=0.02, delay=(0.0005, 0.02), reorder=0.1, unknown=0.02)
KEYS = 3


async def trial(clock: VirtualClock, seed: int, *, faults: Faults, kills: int, always_replay: bool, cached_runs: int) -> int:
    chance = random.Random(seed)
    fleets: list[Fleet] = []
    truth = dict.fromkeys(range(KEYS), 0)
    settled = {key: [(0.0, 0)] for key in range(KEYS)}
    """When an invalidation was over, and what the truth was when it began."""
    seen: list[tuple[int, float, int]] = []

    @task(name="remote", cache=Cache(ttl=3600))
    async def remote(key: int, context: TaskContext) -> list[int]:
        fleets[0].began("remote", context)
        found = truth[key]
        await asyncio.sleep(chance.choice((0, 0.4, 2.0)))
        return [key, found]

    @task(name="local", local=True, cache=Cache(ttl=3600, key=lambda key: key))
    async def local(key: int, context: TaskContext) -> list[int]:
        fleets[0].began("local", context)
        found = truth[key]
        await asyncio.sleep(chance.choice((0, 0.4, 2.0)))
        return [key, found]

    @workflow(name="reader")
    async def reader(ctx: Context, keys: list[int]) -> list[list[int]]:
        found = []
        for key in keys:
            began = ctx.now().timestamp()
            one, other = await asyncio.gather(remote.run(ctx, key), local.run(ctx, key))
            assert one[0] == other[0] == key
            seen.append((key, began, min(one[1], other[1])))
            await asyncio.sleep(ctx.random() * 3)
            found.append(one)
        return found

    fleet = Fleet(clock, seed, [reader, remote, local], faults=faults, workers=3, always_replay=always_replay, cached_runs=cached_runs)
    fleets.append(fleet)
    await fleet.start()
    client = Client(fleet.server.connect("client"), clock=clock)

    async def start(number: int) -> None:
        await asyncio.sleep(chance.uniform(0, 20))
        keys = [chance.randrange(KEYS) for _ in range(chance.randrange(1, 6))]
        handle = await reader.enqueue(client, keys, idempotency_key=f"run-{number}")
        assert [key for key, _ in await handle.wait_for_completion(timeout=3600)] == keys

    async def writer() -> None:
        for _ in range(6):
            await asyncio.sleep(chance.uniform(0, 5))
            key = chance.randrange(KEYS)
            truth[key] += 1
            now = truth[key]
            for cache in (remote.cache, local.cache):
                while True:
                    try:
                        await cache.invalidate(client, key)
                        break
                    except TransportError:
                        continue
            settled[key].append((clock.now(), now))

    async def reaper() -> None:
        for _ in range(kills):
            await asyncio.sleep(chance.uniform(0.05, 4))
            if len(fleet.processes) > 1:
                await fleet.replace(chance.choice(fleet.processes), chance.uniform(0.05, 2))

    async with asyncio.TaskGroup() as group:
        group.create_task(reaper())
        group.create_task(writer())
        for number in range(8):
            group.create_task(start(number))
    assert set(fleet.results.values()) == {"completed"}
    assert not fleet.repeated, fleet.repeated
    slack = REMEMBERED + WITHIN
    for key, began, value in seen:
        least = max(known for at, known in settled[key] if at <= max(began - slack, 0.0))
        assert value >= least, f"key {key}: {value} was used at {began}, though {least} was known"
    for process in fleet.processes:
        process.kill()
    return sum(fleet.bodies.values())


@pytest.mark.parametrize("seed", range(SEEDS))
def test_nothing_that_was_invalidated_is_used_again(seed: int) -> None:
    faults = FAULTS if seed % 3 else Faults()
    options: dict[str, Any] = {"kills": seed % 6, "always_replay": seed % 5 == 0, "cached_runs": 1 if seed % 4 == 0 else 5000}
    try:
        run_virtual(lambda clock: trial(clock, seed, faults=faults, **options))
    except BaseException as error:
        error.add_note(f"seed {seed}, options {options}")
        raise
