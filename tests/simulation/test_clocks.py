"""Hosts whose clocks are minutes off: instants are the server's all the same."""

import asyncio
import random
from datetime import timedelta

import pytest

from aiki.clock import VirtualClock, run_virtual
from aiki.sdk import Client, Context, Trigger, workflow
from aiki.transport import Faults
from tests.simulation.fleet import Fleet

SKEW = 300.0
DELAYS = Faults(delay=(0.0005, 0.02))
ERROR = 0.021
"""Seconds by which a clock may be misread over these delays: half of a round trip."""
RUNS = 8


async def trial(clock: VirtualClock, seed: int, *, kills: int, cached_runs: int) -> None:
    chance = random.Random(seed)
    woke: dict[str, list[float]] = {}

    @workflow(name="sleeper")
    async def sleeper(ctx: Context, naps: list[float]) -> int:
        seen = woke.setdefault(ctx.run_id, [])
        for number, nap in enumerate(naps):
            due = ctx.now().timestamp() + nap
            await ctx.sleep(nap)
            if len(seen) == number:  # not when it is replayed
                seen.append(clock.now() - due)
        due = ctx.now().timestamp() + 7
        try:
            async with asyncio.timeout(7):
                await ctx.sleep(1000)
        except TimeoutError:
            if len(seen) == len(naps):
                seen.append(clock.now() - due)
        return len(naps)

    fleet = Fleet(clock, seed, [sleeper], faults=DELAYS, workers=3, cached_runs=cached_runs, skew=SKEW)
    await fleet.start()

    async def run(number: int) -> None:
        client = Client(fleet.server.connect(f"client-{number}"), clock=fleet.clock_of_a_host())
        await asyncio.sleep(chance.uniform(0, 2))
        naps = [round(chance.choice((0.3, 1.9, 2.4, 2.6, 10.0, 3600.0)) * chance.uniform(1, 1.2), 3) for _ in range(4)]
        delay = chance.choice((0.0, 30.0))
        called = clock.now()
        handle = await sleeper.enqueue(client, naps, trigger=Trigger.after(timedelta(seconds=delay)))
        assert await handle.wait_for_completion(timeout=100_000) == 4
        status = await handle.get_status()
        assert abs(status.created_at.timestamp() - called) < 0.2
        assert status.started_at is not None
        begun = status.started_at.timestamp() - called - delay
        assert begun >= -ERROR, f"began {-begun} s before its instant"
        assert kills or begun < 0.5, f"began {begun} s after its instant"
        assert len(woke[handle.id]) == 5
        for late in woke[handle.id]:
            assert late >= -ERROR, f"woke {-late} s before its instant"
            assert kills or late < 0.1, f"woke {late} s after its instant"

    async def reaper() -> None:
        for _ in range(kills):
            await asyncio.sleep(chance.uniform(0.5, 8))
            await fleet.replace(chance.choice(fleet.processes), chance.uniform(0.05, 2))

    async with asyncio.TaskGroup() as group:
        group.create_task(reaper())
        for number in range(RUNS):
            group.create_task(run(number))
    for process in fleet.processes:
        process.kill()


@pytest.mark.parametrize("kills", [0, 6])
@pytest.mark.parametrize("seed", range(10))
def test_no_sleep_is_early_or_late_by_the_servers_clock(seed: int, kills: int) -> None:
    try:
        run_virtual(lambda clock: trial(clock, seed, kills=kills, cached_runs=0 if seed % 2 else 5000))
    except BaseException as error:
        error.add_note(f"seed {seed}, kills {kills}")
        raise
