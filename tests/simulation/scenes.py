"""Trials of a fleet: scenes that are played at the same time, while workers die and the network lies."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiki.client import Client
from aiki.clock import VirtualClock, run_virtual
from aiki.codec import Codec
from aiki.transport import Faults
from tests.simulation.fleet import Fleet

__all__ = ["FAULTS", "Scene", "play"]

FAULTS = Faults(lose=0.02, double=0.02, delay=(0.0005, 0.02), reorder=0.1, unknown=0.02)

Scene = Callable[[random.Random, Client, int], Awaitable[None]]
"""From the trial's chance, a client, and a number that no other scene of the trial has."""


def play(
    seed: int,
    definitions: Sequence[Any],
    scenes: Sequence[Scene],
    *,
    faults: Faults,
    kills: int,
    chance: random.Random | None = None,
    on_fleet: Callable[[Fleet], None] = lambda fleet: None,
    cached_runs: int = 5000,
    replay: bool = False,
    resets: bool = False,
    codec: Codec | None = None,
    lacking: int = 0,
    beside: Callable[[Client], Awaitable[None]] | None = None,
    afterwards: Callable[[Fleet, Client], Awaitable[None]] | None = None,
) -> None:
    """Play them all in virtual time, in which `kills` workers die; a failure names the seed. `resets`: completed runs may go on.

    `lacking`: each so many-th worker has no key. `beside` goes on until the scenes are over; `afterwards` looks at what is left of them.
    """
    chance = chance or random.Random(seed)

    async def trial(clock: VirtualClock) -> None:
        fleet = Fleet(
            clock,
            seed,
            list(definitions),
            faults=faults,
            workers=3,
            cached_runs=cached_runs,
            always_replay=replay,
            codec=codec,
            lacking=lacking,
        )
        on_fleet(fleet)
        await fleet.start()
        client = Client(fleet.server.connect("client"), clock=clock, codec=codec)

        async def reaper() -> None:
            for _ in range(kills):
                await asyncio.sleep(chance.uniform(0.05, 1.5))
                if len(fleet.processes) > 1:
                    await fleet.replace(chance.choice(fleet.processes), chance.uniform(0.05, 2))

        going_on = None if beside is None else asyncio.ensure_future(beside(client))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(reaper())
                for key, scene in enumerate(scenes):
                    group.create_task(_played(scene, chance, client, key))
            if afterwards is not None:
                await afterwards(fleet, client)
        finally:
            if going_on is not None:
                going_on.cancel()
                await asyncio.gather(going_on, return_exceptions=True)
            for process in fleet.processes:
                process.kill()
        wrong = [each for each in fleet.repeated if not (resets and "was completed" in each)]
        assert not wrong, wrong

    try:
        run_virtual(trial)
    except BaseException as error:
        error.add_note(f"seed {seed}, kills {kills}, cached_runs {cached_runs}, replay {replay}, {faults}")
        raise


async def _played(scene: Scene, chance: random.Random, client: Client, key: int) -> None:
    await scene(chance, client, key)
