"""Sagas under faults: workers die at any instant, also while they compensate. What is done and recorded is undone once, or stands."""

import asyncio
import contextlib
import os
import random
from typing import Any

import msgspec
import pytest

from aiki.clock import VirtualClock, run_virtual
from aiki.sdk import Client, Context, Retry, Saga, TaskContext, WorkflowCancelled, WorkflowFailed, task, workflow
from aiki.transport import Faults
from tests.simulation.fleet import Fleet

SEEDS = int(os.environ.get("AIKI_SEEDS", "40"))
LONG_SEEDS = int(os.environ.get("AIKI_LONG_SEEDS", "1000"))

FAULTS = Faults(lose=0.02, double=0.02, delay=(0.0005, 0.02), reorder=0.1, unknown=0.02)
ATTEMPTS = 3
PATIENCE = 400.0


class Do(msgspec.Struct):
    """A step of a saga. `token` tells one doing of it from another."""

    kind: str
    number: int
    fails: int = 0
    """In how many attempts of the workflow it does, from the first on."""


class Plan(msgspec.Struct):
    """Stages one after another; the steps of a stage run in parallel. `lasts`: seconds after the stages, `slow`: of the first undoing."""

    stages: list[list[Do]]
    fails: int
    lasts: float
    slow: float
    cancelled: float | None


KINDS = ("local", "remote", "flaky", "child", "keyed")


def draw(chance: random.Random) -> Plan:
    numbers = iter(range(1000))
    cancelled = chance.choice((0.0, 0.5, 3.0, 10.0)) if chance.random() < 0.25 else None
    slow = PATIENCE * 2 if cancelled is None and chance.random() < 0.15 else 0.0
    stages = []
    for _ in range(chance.randrange(1, 5)):
        width = chance.choice((1, 1, 2, 3))
        # The same number twice: calls that only their order tells apart.
        # What is undone by hand must have been awaited, and is not finished by another attempt.
        kinds = KINDS if width > 1 or slow else (*KINDS, "hand")
        stages.append([Do(chance.choice(kinds), next(numbers) // chance.choice((1, 2)), _failures(chance, 0.1)) for _ in range(width)])
    return Plan(stages, _failures(chance, 0.4), chance.choice((0.0, 0.5, 5.0)), slow, cancelled)


def _failures(chance: random.Random, probability: float) -> int:
    return chance.choice((1, 2, ATTEMPTS)) if chance.random() < probability else 0


def definitions(fleet: list[Fleet], chance: random.Random) -> list[Any]:
    async def body(name: str, context: TaskContext) -> str:
        fleet[0].began(name, context)
        await asyncio.sleep(chance.choice((0, 0.01, 0.4)))
        return context.idempotency_key

    def refuse(step: Do, attempt: int) -> None:
        if attempt <= step.fails:
            raise ValueError("as it was told")

    @task(name="do-local", local=True)
    async def local(given: tuple[Do, int], context: TaskContext) -> str:
        token = await body("do-local", context)
        refuse(*given)
        return token

    @task(name="do-remote")
    async def remote(number: int, context: TaskContext) -> str:
        return await body("do-remote", context)

    @task(name="do-flaky", retry=Retry.schedule([0.2, 5.0, 0.1]))
    async def flaky(number: int, context: TaskContext) -> str:
        if context.attempt <= number % 4:
            raise ValueError(f"attempt {context.attempt}")
        return context.idempotency_key

    @workflow(name="do-child")
    async def child(ctx: Context, number: int) -> str:
        await ctx.sleep(0.1)
        return str(ctx.run_id)

    @task(name="undo", retry=Retry.fixed(max_attempts=4, delay=0.3))
    async def undo(token: str, context: TaskContext) -> str:
        if context.attempt <= len(token) % 3:
            raise ConnectionError("not now")
        await body("undo", context)
        return token

    @task(name="undo-local", local=True)
    async def undo_local(token: str, context: TaskContext) -> str:
        await body("undo-local", context)
        return token

    async def do(ctx: Context, saga: Saga, step: Do, place: str, slow: float) -> None:
        async def in_two(token: str) -> None:
            if ctx.attempt == 1:
                await ctx.sleep(slow)
            await undo_local.run(ctx, token)

        if step.kind != "local" and ctx.attempt <= step.fails:
            await ctx.sleep(0.2)
            raise ValueError("as it was told")
        if step.kind == "local":
            # Another payload in each attempt would be another step.
            await saga.run(local, (step, min(ctx.attempt, step.fails + 1)), undo=undo)
        elif step.kind == "remote":
            await saga.run(remote, step.number, undo=in_two)
        elif step.kind == "flaky":
            await saga.run(flaky, step.number, undo=undo)
        elif step.kind == "child":
            await saga.run(child, step.number, undo=undo)
        elif step.kind == "keyed":
            await saga.run(remote, step.number, undo=undo_local, idempotency_key=f"{ctx.run_id}-{place}")
        else:
            token = await remote.run(ctx, step.number, idempotency_key=f"{ctx.run_id}-{place}-{ctx.attempt}")
            saga.add(lambda: undo.run(ctx, token))

    @workflow(name="booking", retry=Retry.fixed(max_attempts=ATTEMPTS, delay=1), timeout=PATIENCE)
    async def booking(ctx: Context, plan: Plan) -> int:
        async with ctx.saga() as saga:
            for row, stage in enumerate(plan.stages):
                await asyncio.gather(*(do(ctx, saga, step, f"{row}-{index}", plan.slow) for index, step in enumerate(stage)))
            await ctx.sleep(plan.lasts)
            if ctx.attempt <= plan.fails:
                raise ValueError("as it was told")
        return ctx.attempt

    return [booking, child, local, remote, flaky, undo, undo_local]


def check(fleet: Fleet, run_id: str, status: str, *, in_order: bool) -> tuple[int, int]:
    """How many were done and undone: in a run that failed all, in reverse order, each once; in one that completed all but the last."""
    standing: list[str] = []
    undone: list[str] = []
    for (run, address, _), (_, value, code) in fleet.recorded.items():
        if run != run_id or code is not None or not value:
            continue
        if address.startswith("do-"):
            standing.append(msgspec.json.decode(value))
        elif address.startswith("undo"):
            token = msgspec.json.decode(value)
            assert token not in undone, f"{token} was undone twice"
            assert token in standing, f"{token} was undone before it was done"
            assert not in_order or standing[-1] == token, f"{token} was undone before {standing[-1]}"
            standing.remove(token)
            undone.append(token)
    if status != "completed":
        assert not standing, f"run {run_id} {status}, and these stand: {standing}"
    return len(standing), len(undone)


async def trial(clock: VirtualClock, seed: int, *, faults: Faults, kills: int, cached_runs: int = 5000, replay: bool = False) -> int:
    chance = random.Random(seed)
    box: list[Fleet] = []
    parts = definitions(box, chance)
    fleet = Fleet(clock, seed, parts, faults=faults, workers=3, cached_runs=cached_runs, always_replay=replay)
    box.append(fleet)
    await fleet.start()
    client = Client(fleet.server.connect("client"), clock=clock)
    undone = 0

    async def book(number: int) -> None:
        nonlocal undone
        plan = draw(chance)
        handle = await parts[0].enqueue(client, plan, idempotency_key=f"run-{number}")
        if plan.cancelled is not None:
            await asyncio.sleep(plan.cancelled)
            with contextlib.suppress(Exception):
                await handle.cancel("enough")
        status, attempt = "completed", 0
        try:
            attempt = await handle.wait_for_completion(timeout=36_000)
        except WorkflowCancelled:
            status = "cancelled"
        except WorkflowFailed as error:
            assert "as it was told" in str(error), error
            status = "failed"
        count, reverted = check(fleet, handle.id, status, in_order=plan.slow == 0)
        undone += reverted
        if status == "completed":
            assert count == sum(map(len, plan.stages))
            most = max([plan.fails, *(step.fails for stage in plan.stages for step in stage)])
            assert attempt >= min(most, ATTEMPTS - 1) + (most < ATTEMPTS) or plan.slow

    async def reaper() -> None:
        for _ in range(kills):
            await asyncio.sleep(chance.uniform(0.05, 1.5))
            if len(fleet.processes) > 1:
                await fleet.replace(chance.choice(fleet.processes), chance.uniform(0.05, 2))

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(reaper())
            for number in range(6):
                group.create_task(book(number))
        assert not fleet.repeated, fleet.repeated
    finally:
        for process in fleet.processes:
            process.kill()
    return undone


def simulate(seed: int, **options: Any) -> int:
    try:
        return run_virtual(lambda clock: trial(clock, seed, **options))
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


def test_much_is_undone_in_these_trials() -> None:
    assert simulate(0, faults=Faults(), kills=0) + simulate(1, faults=Faults(), kills=0) > 10


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_many_seeds() -> None:
    for seed in range(10_000, 10_000 + LONG_SEEDS):
        simulate(seed, faults=FAULTS, kills=seed % 12, cached_runs=1 if seed % 4 == 0 else 5000)
