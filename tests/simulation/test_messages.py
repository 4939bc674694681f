"""Messages to runs under faults: events, cancellation, pauses, sub-workflows and updates, while workers die and the network lies."""

import asyncio
import contextlib
import os
import random
from typing import Any

import msgspec
import pytest

from aiki.client import RunHandle
from aiki.clock import VirtualClock, run_virtual
from aiki.codec import Codec
from aiki.sdk import (
    ChildFailed,
    Client,
    Context,
    RunEnded,
    RunNotFound,
    TaskContext,
    Variables,
    WorkflowCancelled,
    WorkflowFailed,
    event,
    task,
    workflow,
)
from aiki.transport import Faults
from tests.simulation.fleet import Fleet

SEEDS = int(os.environ.get("AIKI_SEEDS", "40"))
LONG_SEEDS = int(os.environ.get("AIKI_LONG_SEEDS", "1000"))

FAULTS = Faults(lose=0.02, double=0.02, delay=(0.0005, 0.02), reorder=0.1, unknown=0.02)

number = event("number", int)
stop = event("stop", int)


class Tree(msgspec.Struct):
    """A sub-workflow: its value, whether it fails, and its own children."""

    value: int
    fails: bool = False
    keyed: bool = False
    parts: list["Tree"] = []


def total(tree: Tree) -> int:
    return -1 if tree.fails else tree.value + sum(total(part) for part in tree.parts)


def tree(chance: random.Random, depth: int) -> Tree:
    parts = [tree(chance, depth - 1) for _ in range(chance.randrange(3))] if depth else []
    return Tree(chance.randrange(100), depth < 3 and chance.random() < 0.2, chance.random() < 0.3, parts)


class World:
    """What the definitions of one trial share with its test."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.fleet: Fleet | None = None
        self.cleaned: list[str] = []


def definitions(world: World) -> dict[str, Any]:
    chance = world.chance

    @task(name="work")
    async def work(id: int, context: TaskContext) -> int:
        assert world.fleet is not None
        world.fleet.began("work", context)
        await asyncio.sleep(chance.choice((0, 0.01, 0.4)))
        return id

    @task(name="clean", local=True)
    async def clean(run_id: str) -> None:
        world.cleaned.append(run_id)

    @workflow(name="collect")
    async def collect(ctx: Context, most: int) -> list[int]:
        numbers: list[int] = []
        while len(numbers) < most:
            numbers.append(await ctx.wait_for(number))
            if chance_of(ctx) < 0.3:
                await work.run(ctx, len(numbers))
            if chance_of(ctx) < 0.2:
                await ctx.sleep(0.3)
        return numbers

    @workflow(name="node")
    async def node(ctx: Context, part: Tree) -> int:
        handles = []
        for index, child in enumerate(part.parts):
            key = f"{ctx.run_id}/{index}" if child.keyed else None
            handles.append(await node.start(ctx, child, idempotency_key=key))
        if chance_of(ctx) < 0.5:
            await work.run(ctx, part.value)
        results = []
        for handle, child in zip(handles, part.parts, strict=True):
            try:
                results.append(await handle)
            except ChildFailed as error:
                assert error.run_id == handle.id and child.fails
                results.append(-1)
        if part.fails:
            raise ValueError("as it was told")
        return part.value + sum(results)

    @workflow(name="endless")
    async def endless(ctx: Context, plan: int) -> int:
        rounds = 0
        try:
            while True:
                rounds += 1
                await asyncio.gather(work.run(ctx, rounds), ctx.sleep(0.5))
                if plan % 3 == 0:
                    await endless_child.run(ctx, rounds)
        finally:
            async with ctx.shielded():
                await work.run(ctx, -1)
                await clean.run(ctx, ctx.run_id)

    @workflow(name="endless-child")
    async def endless_child(ctx: Context, round: int) -> int:
        try:
            await ctx.wait_for(stop)
        finally:
            await clean.run(ctx, ctx.run_id)
        return round

    @workflow(name="account")
    async def account(ctx: Context, most: int) -> list[int]:
        booked: list[int] = []
        enough = asyncio.Event()
        await ctx.publish(0)
        await enough.wait()
        await work.run(ctx, 1)
        return booked

    @account.update("book")
    async def book(state: Variables, amount: int) -> int:
        if amount < 0:
            raise ValueError("no debts")
        if amount % 2:
            await work.run(state.ctx, amount)
        state.booked.append(amount)
        await state.ctx.publish(len(state.booked))
        if len(state.booked) == state.most:
            state.enough.set()
        return len(state.booked)

    @account.query("sum")
    def query_sum(state: Variables) -> int:
        return sum(state.booked)

    @workflow(name="stubborn")
    async def stubborn(ctx: Context, most: int) -> list[int]:
        done = [await work.run(ctx, number) for number in range(ctx.attempt)]
        if ctx.attempt < most:
            raise ValueError("not yet")
        return done

    return {each.name: each for each in (stubborn, work, clean, collect, node, endless, endless_child, account)}


def chance_of(ctx: Context) -> float:
    return ctx.random()


async def send_numbers(world: World, client: Client, parts: dict[str, Any], key: int) -> None:
    """Events, early ones and repeated ones too, from one sender: none lost, none twice, in order."""
    chance, most = world.chance, world.chance.randrange(1, 12)
    handle: RunHandle[list[int]] = await parts["collect"].enqueue(client, most, idempotency_key=f"collect-{key}")
    for index in range(most):
        keyed = chance.random() < 0.7
        await handle.send(number, index, idempotency_key=str(index) if keyed else None)
        if keyed and chance.random() < 0.3:
            with contextlib.suppress(RunEnded):
                await handle.send(number, index, idempotency_key=str(index))
        if chance.random() < 0.3:
            await asyncio.sleep(chance.uniform(0, 1))
        if chance.random() < 0.15:
            with contextlib.suppress(RunEnded):
                await handle.pause("for a moment")
                await asyncio.sleep(chance.uniform(0, 2))
                await handle.resume()
    assert await handle.wait_for_completion(timeout=3600) == list(range(most))


async def grow_tree(world: World, client: Client, parts: dict[str, Any], key: int) -> None:
    plan = tree(world.chance, 3)
    handle: RunHandle[int] = await parts["node"].enqueue(client, plan, idempotency_key=f"node-{key}")
    assert await handle.wait_for_completion(timeout=3600) == total(plan)


async def cancel_it(world: World, client: Client, parts: dict[str, Any], key: int) -> None:
    chance = world.chance
    handle: RunHandle[int] = await parts["endless"].enqueue(client, key, idempotency_key=f"endless-{key}")
    await asyncio.sleep(chance.choice((0, 0.01, 0.5, 3)))
    terminate = chance.random() < 0.2
    if terminate:
        await handle.terminate("enough")
    else:
        await handle.cancel("enough")
    with pytest.raises(WorkflowCancelled):
        await handle.wait_for_completion(timeout=3600)
    view = await handle.describe()
    began = any(step.name in ("work", "clean", "endless-child") for step in view.steps)
    if began and not terminate:
        assert world.cleaned.count(handle.id) >= 1
    for step in view.steps:
        if step.child is not None:
            # One that was issued in the very turn that was cancelled has never begun.
            with pytest.raises((WorkflowCancelled, RunNotFound)):
                await client.run(step.child, "endless-child", "1.0.0").wait_for_completion(timeout=3600)


async def retry_it(world: World, client: Client, parts: dict[str, Any], key: int) -> None:
    most = world.chance.randrange(2, 5)
    handle: RunHandle[list[int]] = await parts["stubborn"].enqueue(client, most, idempotency_key=f"stubborn-{key}")
    for _ in range(most - 1):
        with pytest.raises(WorkflowFailed):
            await handle.wait_for_completion(timeout=3600)
        await handle.retry()
    assert await handle.wait_for_completion(timeout=3600) == list(range(most))
    assert (await handle.get_status()).attempts == most


async def book_it(world: World, client: Client, parts: dict[str, Any], key: int) -> None:
    chance = world.chance
    handle: RunHandle[list[int]] = await parts["account"].enqueue(client, 5, idempotency_key=f"account-{key}")
    answers = []
    for amount in range(5):
        answers.append(await handle.update("book", amount, timeout=3600))
        if chance.random() < 0.3:
            await asyncio.sleep(chance.uniform(0, 1))
    assert answers == [1, 2, 3, 4, 5]
    assert await handle.wait_for_completion(timeout=3600) == list(range(5))


async def trial(
    clock: VirtualClock,
    seed: int,
    *,
    faults: Faults,
    kills: int,
    cached_runs: int = 5000,
    replay: bool = False,
    codec: Codec | None = None,
) -> None:
    world = World(random.Random(seed))
    parts = definitions(world)
    fleet = Fleet(clock, seed, list(parts.values()), faults=faults, workers=3, cached_runs=cached_runs, always_replay=replay, codec=codec)
    world.fleet = fleet
    await fleet.start()
    client = Client(fleet.server.connect("client"), clock=clock, codec=codec)

    async def reaper() -> None:
        for _ in range(kills):
            await asyncio.sleep(world.chance.uniform(0.05, 1.5))
            if len(fleet.processes) > 1:
                await fleet.replace(world.chance.choice(fleet.processes), world.chance.uniform(0.05, 2))

    async with asyncio.TaskGroup() as group:
        group.create_task(reaper())
        for key, scene in enumerate((send_numbers, send_numbers, grow_tree, cancel_it, cancel_it, book_it, retry_it)):
            group.create_task(scene(world, client, parts, key))
    assert not fleet.repeated, fleet.repeated
    for process in fleet.processes:
        process.kill()


def simulate(seed: int, **options: Any) -> None:
    try:
        run_virtual(lambda clock: trial(clock, seed, **options))
    except BaseException as error:
        error.add_note(f"seed {seed}, options {options}")
        raise


@pytest.mark.parametrize("seed", range(SEEDS))
def test_calm(seed: int) -> None:
    simulate(seed, faults=Faults(), kills=0, cached_runs=0 if seed % 3 == 0 else 5000)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_kills(seed: int) -> None:
    simulate(seed, faults=Faults(delay=(0.0005, 0.01)), kills=8)


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
