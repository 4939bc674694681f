"""The whole engine under faults: workers die at any instant, messages are lost, late, doubled and reordered; every run ends right."""

import asyncio
import os
import random
from typing import Any

import msgspec
import pytest

from aiki.clock import VirtualClock, run_virtual
from aiki.codec import Codec
from aiki.sdk import Client, Context, Retry, Task, TaskContext, TaskTimedOut, WorkerLost, task, workflow
from aiki.transport import Faults
from tests.simulation.fleet import Fleet

SEEDS = int(os.environ.get("AIKI_SEEDS", "40"))
LONG_SEEDS = int(os.environ.get("AIKI_LONG_SEEDS", "1500"))

FAULTS = Faults(lose=0.02, double=0.02, delay=(0.0005, 0.02), reorder=0.1, unknown=0.02)


class Op(msgspec.Struct):
    """One thing that a generated workflow does: `kind` is one of `KINDS` or `LIMITED`."""

    kind: str
    id: int
    seconds: float = 0.0


class Program(msgspec.Struct):
    """Stages one after another; the operations of a stage run in parallel."""

    stages: list[list[Op]]


def value(id: int) -> int:
    return id * 31 % 1009


KINDS = ("local", "local", "remote", "remote", "keyed", "flaky", "once", "sleep", "race")
LIMITED = ("hang", "hang", "late", "beat", "silent", "started", "unserved", "remote", "local", "sleep")
DEADLINE = 2.5


def program(chance: random.Random, kinds: tuple[str, ...] = KINDS) -> Program:
    ids = iter(range(1000))
    stages = []
    for _ in range(chance.randrange(1, 6)):
        width = chance.choice((1, 1, 1, 2, 3, 6))
        stages.append([Op(chance.choice(kinds), next(ids), round(chance.choice((0.0, 0.01, 0.4, 2.0, 60.0)), 3)) for _ in range(width)])
    return Program(stages)


def expected(plan: Program) -> int:
    return sum(value(op.id) for stage in plan.stages for op in stage if op.kind != "sleep")


def definitions(fleet: list[Fleet], chance: random.Random) -> list[Any]:
    def began(kind: str, context: TaskContext) -> None:
        fleet[0].began(kind, context)

    @task(name="local", local=True)
    async def local(id: int, context: TaskContext) -> int:
        began("local", context)
        await asyncio.sleep(chance.choice((0, 0, 0.01, 0.3)))
        return value(id)

    @task(name="remote")
    async def remote(id: int, context: TaskContext) -> int:
        began("remote", context)
        await asyncio.sleep(chance.choice((0, 0.01, 0.4)))
        return value(id)

    @task(name="flaky", retry=Retry.schedule([0.2, 5.0, 0.1]))
    async def flaky(op: Op, context: TaskContext) -> int:
        if context.attempt <= op.id % 4:
            raise ValueError(f"attempt {context.attempt}")
        return value(op.id)

    @task(name="once", retry=Retry.never(on_crash="fail"))
    async def once(id: int, context: TaskContext) -> int:
        began("once", context)
        fleet[0].begun_once[context.idempotency_key] += 1
        await asyncio.sleep(chance.choice((0, 0.1, 0.4)))
        return value(id)

    @task(name="hang", deadline=DEADLINE, retry=Retry.fixed(max_attempts=1000, delay=0.3))
    async def hang(id: int) -> int:
        if chance.random() < 0.5:
            raise ValueError("not yet")
        await asyncio.sleep(3600)
        return -1

    @task(name="late", timeout=60)
    async def late(id: int) -> int:
        await asyncio.sleep(DEADLINE + chance.choice((-1.0, 0.0, 0.01, 0.5)))
        return value(id)

    @task(name="beat", heartbeat=1, retry=Retry.fixed(max_attempts=1000, delay=0.2))
    async def beat(id: int, context: TaskContext) -> int:
        done = context.last_heartbeat or 0
        while done < 8:
            await asyncio.sleep(0.5)
            done += 1
            context.heartbeat(done)
        return value(id)

    @task(name="silent", heartbeat=1, retry=Retry.schedule([0.1, 2, 2, 2]))
    async def silent(id: int, context: TaskContext) -> int:
        if context.attempt < 3:
            context.heartbeat(context.attempt)
            await asyncio.sleep(3600)
        assert context.last_heartbeat == 2
        return value(id)

    @task(name="started", start_timeout=300)
    async def started(id: int) -> int:
        await asyncio.sleep(chance.choice((0, 0.01, 0.4)))
        return value(id)

    async def ends(ctx: Context, limit: str, after: float, call: Any) -> None:
        began = ctx.now()
        with pytest.raises(TaskTimedOut) as caught:
            await call
        assert caught.value.limit == limit
        # Late when all workers that could have noticed were killed meanwhile, some of them again and again.
        assert after <= (ctx.now() - began).total_seconds() + 0.001 <= after + 30

    async def run_limited(ctx: Context, op: Op) -> int:
        if op.kind == "hang":
            # With a retry that would begin after the deadline the step ends a little earlier.
            await ends(ctx, "deadline", DEADLINE - 0.3, hang.run(ctx, op.id, local=op.id % 2 == 0))
        elif op.kind == "unserved":
            await ends(ctx, "start_timeout", 1.5, started.run(ctx, op.id, queue="nobody", start_timeout=1.5))
        elif op.kind == "late":
            try:
                assert await late.run(ctx, op.id, deadline=DEADLINE, local=op.id % 2 == 0) == value(op.id)
            except TaskTimedOut as error:
                assert error.limit == "deadline"
        else:
            simple: dict[str, Task[int, int, ..., Any]] = {"beat": beat, "silent": silent, "started": started}
            return await simple[op.kind].run(ctx, op.id)
        return value(op.id)

    async def run(ctx: Context, op: Op) -> int:
        if op.kind in ("hang", "late", "beat", "silent", "started", "unserved"):
            return await run_limited(ctx, op)
        if op.kind == "local":
            return await local.run(ctx, op.id)
        if op.kind == "remote":
            return await remote.run(ctx, op.id)
        if op.kind == "flaky":
            return await flaky.run(ctx, op, local=op.id % 2 == 0)
        if op.kind == "once":
            try:
                return await once.run(ctx, op.id, local=op.id % 2 == 0)
            except WorkerLost:
                return value(op.id)
        if op.kind == "sleep":
            await ctx.sleep(op.seconds)
            return 0
        if op.kind == "keyed":
            twice = await asyncio.gather(*(remote.run(ctx, op.id, idempotency_key=f"key-{op.id}") for _ in range(2)))
            assert twice[0] == twice[1]
            return twice[0]
        # race: whoever is first, the recorded order decides at each replay
        tasks = [asyncio.create_task(local.run(ctx, op.id)), asyncio.create_task(remote.run(ctx, op.id))]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for waiting in pending:
            waiting.cancel()
        return next(iter(done)).result()

    @workflow(name="generated")
    async def generated(ctx: Context, plan: Program) -> int:
        total = 0
        for stage in plan.stages:
            total += sum(await asyncio.gather(*(run(ctx, op) for op in stage)))
        return total

    return [generated, local, remote, flaky, once, hang, late, beat, silent, started]


async def trial(
    clock: VirtualClock,
    seed: int,
    *,
    faults: Faults,
    kills: int,
    cached_runs: int = 5000,
    always_replay: bool = False,
    kinds: tuple[str, ...] = KINDS,
    codec: Codec | None = None,
    lacking: int = 0,
) -> Fleet:
    chance = random.Random(seed)
    box: list[Fleet] = []
    parts = definitions(box, chance)
    generated = parts[0]
    keys: dict[str, Any] = {"codec": codec, "lacking": lacking}
    fleet = Fleet(clock, seed, parts, faults=faults, workers=3, cached_runs=cached_runs, always_replay=always_replay, **keys)
    box.append(fleet)
    await fleet.start()
    client = Client(fleet.server.connect("client"), clock=clock, codec=codec)
    plans = {}

    async def start(number: int) -> None:
        await asyncio.sleep(chance.uniform(0, 2))
        plan = program(chance, kinds)
        handle = await generated.enqueue(client, plan, idempotency_key=f"run-{number}")
        plans[handle.id] = plan
        assert await handle.wait_for_completion(timeout=3600) == expected(plan)

    async def reaper() -> None:
        for _ in range(kills):
            await asyncio.sleep(chance.uniform(0.05, 1.5))
            if len(fleet.processes) > 1:
                await fleet.replace(chance.choice(fleet.processes), chance.uniform(0.05, 2))

    async with asyncio.TaskGroup() as group:
        group.create_task(reaper())
        for number in range(6):
            group.create_task(start(number))
    assert set(fleet.results.values()) == {"completed"}
    assert len(fleet.results) == 6
    assert not fleet.repeated, fleet.repeated
    if not faults.double:  # a delivery that the network doubles is beyond what its count can tell
        assert all(count == 1 for count in fleet.begun_once.values()), fleet.begun_once
    for process in fleet.processes:
        process.kill()
    return fleet


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
    simulate(seed, faults=FAULTS if seed % 2 else Faults(), kills=seed % 5, always_replay=True)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_limits(seed: int) -> None:
    faults = FAULTS if seed % 2 else Faults()
    simulate(seed, faults=faults, kills=seed % 8, cached_runs=1 if seed % 4 == 0 else 5000, always_replay=seed % 5 == 0, kinds=LIMITED)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_limits_with_many_seeds() -> None:
    for seed in range(20_000, 20_000 + LONG_SEEDS // 3):
        simulate(seed, faults=FAULTS, kills=seed % 12, cached_runs=1 if seed % 4 == 0 else 5000, kinds=LIMITED)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_many_seeds() -> None:
    for seed in range(10_000, 10_000 + LONG_SEEDS):
        simulate(seed, faults=FAULTS, kills=seed % 12, cached_runs=1 if seed % 4 == 0 else 5000)
