"""Large payloads under faults: whoever dies, whatever is lost, each run ends right, and nothing that is referred to is lost."""

import asyncio
import os
import random
from typing import Any

import pytest

from aiki.clock import VirtualClock, run_virtual
from aiki.sdk import Client, Context, TaskContext, event, task, workflow
from aiki.transport import Faults
from aiki.types.errors import TransportError
from tests.simulation.fleet import Fleet

SEEDS = int(os.environ.get("AIKI_SEEDS", "4"))
FAULTS = Faults(lose=0.02, double=0.02, delay=(0.0005, 0.02), reorder=0.1, unknown=0.02)
BIG = 150_000
DAY = 86_400.0
more = event("more", str)


async def trial(clock: VirtualClock, seed: int, *, faults: Faults, kills: int, always_replay: bool, cached_runs: int) -> None:
    chance = random.Random(seed)
    fleets: list[Fleet] = []

    @task(name="remote")
    async def remote(text: str, context: TaskContext) -> str:
        fleets[0].began("remote", context)
        await asyncio.sleep(chance.choice((0, 0.4, 2.0)))
        return text + "r"

    @task(name="local", local=True)
    async def local(text: str, context: TaskContext) -> str:
        fleets[0].began("local", context)
        await asyncio.sleep(chance.choice((0, 0.4)))
        return text + "l"

    @workflow(name="child")
    async def child(ctx: Context, text: str) -> str:
        return await remote.run(ctx, text) + "c"

    @workflow(name="parent")
    async def parent(ctx: Context, text: str) -> str:
        one, other = await asyncio.gather(child.run(ctx, text), local.run(ctx, text))
        await ctx.sleep(ctx.random() * 0.8 * DAY)
        heard = await ctx.wait_for(more)
        return await remote.run(ctx, one[-3:] + other[-1:] + heard)

    fleet = Fleet(
        clock, seed, [parent, child, remote, local], faults=faults, workers=3, always_replay=always_replay, cached_runs=cached_runs
    )
    fleets.append(fleet)
    await fleet.start()
    client = Client(fleet.server.connect("client"), clock=clock)
    ended = asyncio.Event()

    async def start(number: int) -> None:
        await asyncio.sleep(chance.uniform(0, 10))
        letter = chance.choice("ab")
        handle = await parent.enqueue(client, letter * BIG, idempotency_key=f"run-{number}")
        await asyncio.sleep(chance.uniform(0, 10))
        await handle.send(more, letter * BIG, idempotency_key="once")
        assert await handle.wait_for_completion(timeout=30 * DAY) == f"{letter}rcl" + letter * BIG + "r"

    async def reaper() -> None:
        for _ in range(kills):
            await asyncio.sleep(chance.uniform(0.05, 4))
            if len(fleet.processes) > 1:
                await fleet.replace(chance.choice(fleet.processes), chance.uniform(0.05, 2))

    async def collector() -> None:
        while not ended.is_set():
            await asyncio.sleep(chance.uniform(0.1, 0.6) * DAY)
            try:
                await client.collect_blobs(older_than=0.5 * DAY)
            except TransportError:
                continue

    async with asyncio.TaskGroup() as everything:
        everything.create_task(collector())
        async with asyncio.TaskGroup() as group:
            group.create_task(reaper())
            for number in range(5):
                group.create_task(start(number))
        ended.set()
    assert set(fleet.results.values()) == {"completed"}
    assert not fleet.repeated, fleet.repeated
    for process in fleet.processes:
        process.kill()


@pytest.mark.parametrize("seed", range(SEEDS))
def test_each_run_ends_with_the_right_bytes(seed: int) -> None:
    faults = FAULTS if seed % 3 else Faults()
    options: dict[str, Any] = {"kills": seed % 6, "always_replay": seed % 5 == 0, "cached_runs": 1 if seed % 4 == 0 else 5000}
    try:
        run_virtual(lambda clock: trial(clock, seed, faults=faults, **options))
    except BaseException as error:
        error.add_note(f"seed {seed}, options {options}")
        raise
