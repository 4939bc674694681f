"""Journals that begin anew, under faults: runs that continue as new, go back to a step, and are forked."""

import asyncio
import contextlib
import os
import random
from collections.abc import Callable
from typing import Any

import pytest

from aiki.client import RunHandle
from aiki.sdk import Client, Context, RunEnded, StepNotFound, event, task, workflow
from aiki.transport import Faults
from tests.simulation.scenes import FAULTS, play

SEEDS = int(os.environ.get("AIKI_SEEDS", "40"))
LONG_SEEDS = int(os.environ.get("AIKI_LONG_SEEDS", "1000"))

number = event("number", int)


@task(name="work")
async def work(id: int) -> int:
    await asyncio.sleep(id % 3 / 10)
    return id * 10


@task(name="write", local=True)
async def write(id: int) -> str:
    return str(id) * 2000


@workflow(name="child")
async def child(ctx: Context, id: int) -> int:
    if id % 2:
        await ctx.sleep(0.7)
    return id + 1000


@workflow(name="counter")
async def counter(ctx: Context, seen: list[int]) -> list[int]:
    """Continues as new after each few events."""
    most = 2 + ctx.generation % 3
    for _ in range(most):
        seen.append(await ctx.wait_for(number))
        if ctx.random() < 0.3:
            await work.run(ctx, 1)
        if len(seen) == 12:
            return seen
    if ctx.generation % 2:
        loose = asyncio.create_task(work.run(ctx, 2))
        await ctx.sleep(0.01)
        assert loose is not None
    return await ctx.continue_as_new(seen)


@workflow(name="path")
async def path(ctx: Context, length: int) -> list[Any]:
    """A way that can be gone again from each of its steps, with the same result."""
    results: list[Any] = []
    for index in range(length):
        match index % 4:
            case 0:
                results.append(await work.run(ctx, index))
            case 1:
                results.append(len(await write.run(ctx, index)))
            case 2:
                await ctx.sleep(0.3)
                results.append(await asyncio.gather(work.run(ctx, index), write.run(ctx, index % 2), child.run(ctx, index)))
                results[-1][1] = len(results[-1][1])
            case _:
                results.append(await child.run(ctx, index))
    return results


def expected(length: int) -> list[Any]:
    makers: dict[int, Callable[[int], Any]] = {
        0: lambda index: index * 10,
        1: lambda index: 2000 * len(str(index)),
        2: lambda index: [index * 10, 2000, index + 1000],
        3: lambda index: index + 1000,
    }
    return [makers[index % 4](index) for index in range(length)]


async def count(chance: random.Random, client: Client, key: int) -> None:
    handle: RunHandle[list[int]] = await counter.enqueue(client, [], idempotency_key=f"counter-{key}")
    for index in range(12):
        keyed = chance.random() < 0.7
        await handle.send(number, index, idempotency_key=str(index) if keyed else None)
        if keyed and chance.random() < 0.3:
            with contextlib.suppress(RunEnded):
                await handle.send(number, index, idempotency_key=str(index))
        if chance.random() < 0.4:
            await asyncio.sleep(chance.uniform(0, 1))
    assert await handle.wait_for_completion(timeout=3600) == list(range(12))


async def go_back(chance: random.Random, client: Client, key: int) -> None:
    length = chance.randrange(1, 14)
    handle: RunHandle[list[Any]] = await path.enqueue(client, length, idempotency_key=f"path-{key}")
    for _ in range(chance.randrange(1, 4)):
        if chance.random() < 0.4:
            await handle.wait_for_completion(timeout=3600)
        else:
            await asyncio.sleep(chance.uniform(0, 4))
        with contextlib.suppress(StepNotFound):
            await handle.reset(chance.choice(("work", "write", "child")), call=chance.randrange(1, 4))
    assert await handle.wait_for_completion(timeout=3600) == expected(length)


async def fork_it(chance: random.Random, client: Client, key: int) -> None:
    length = chance.randrange(1, 10)
    handle: RunHandle[list[Any]] = await path.enqueue(client, length, idempotency_key=f"forked-{key}")
    await asyncio.sleep(chance.uniform(0, 4))
    longer = length + chance.randrange(3)
    try:
        fork = await handle.fork(to_step="work", call=chance.randrange(1, 3), payload=longer, idempotency_key=f"fork-{key}")
    except StepNotFound:
        fork, longer = handle, length
    assert await fork.wait_for_completion(timeout=3600) == expected(longer)
    assert await handle.wait_for_completion(timeout=3600) == expected(length)


def simulate(seed: int, **options: Any) -> None:
    play(seed, (work, write, child, counter, path), (count, go_back, go_back, go_back, fork_it, fork_it), resets=True, **options)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_calm(seed: int) -> None:
    simulate(seed, faults=Faults(), kills=0, cached_runs=0 if seed % 3 == 0 else 5000)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_kills_and_faults(seed: int) -> None:
    simulate(seed, faults=FAULTS, kills=8, cached_runs=1 if seed % 4 == 0 else 5000)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_always_replaying(seed: int) -> None:
    simulate(seed, faults=FAULTS if seed % 2 else Faults(), kills=seed % 5, replay=True)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_many_seeds() -> None:
    for seed in range(10_000, 10_000 + LONG_SEEDS):
        simulate(seed, faults=FAULTS, kills=seed % 12, cached_runs=1 if seed % 4 == 0 else 5000)
