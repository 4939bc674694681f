"""Debounced starts under faults: each call's run exists, and has the payload of the last call that was told of it."""

import asyncio
import os
import random
from typing import Any

import pytest

from aiki.sdk import AesGcmCodec, Client, Concurrency, Context, Debounce, workflow
from aiki.transport import Faults
from aiki.types.errors import TransportError
from tests.simulation.scenes import FAULTS, play

SEEDS = int(os.environ.get("AIKI_SEEDS", "40"))


class World:
    """Callers, one for each key, whose calls come one after another."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(f"{seed} debounce")

        @workflow(name="index")
        async def index(ctx: Context, number: int) -> int:
            await ctx.step("index", lambda: None)
            return number

        @workflow(name="limited", concurrency=Concurrency(1))
        async def limited(ctx: Context, number: int) -> int:
            await ctx.sleep(0.3)
            return number

        self.definitions = [index, limited]

    async def scene(self, chance: random.Random, client: Client, key: int) -> None:
        kind = chance.choice(self.definitions)
        rule = Debounce(key, period=chance.choice((0.05, 0.5, 2.0)), most=chance.choice((None, 3.0)))
        last: dict[str, int] = {}
        for number in range(12):
            await asyncio.sleep(chance.choice((0, 0.03, 0.3, 0.6, 2.0, 2.5)))
            while True:
                try:
                    handle = await kind.enqueue(client, number, debounce=rule)
                    break
                except TransportError:
                    continue
            last[handle.id] = number
        for run_id, number in last.items():
            result = await kind.handle(client, run_id).wait_for_completion(timeout=3600)
            assert result == number, f"run {run_id} was given {result}, and its last call was {number}"
        assert max(last.values()) == 11


@pytest.mark.parametrize("seed", range(SEEDS))
def test_kills_and_faults(seed: int) -> None:
    world = World(seed)
    options: dict[str, Any] = {"kills": seed % 6, "faults": FAULTS if seed % 3 else Faults(), "replay": seed % 5 == 0}
    options["cached_runs"] = 1 if seed % 4 == 0 else 5000
    options["codec"] = AesGcmCodec(keys={"k1": bytes(32)}, active="k1") if seed % 7 == 0 else None
    play(seed, world.definitions, [world.scene] * 6, chance=world.chance, **options)
