"""Everything at once, under faults: gates, cached results, poison, resets, forks, generations, archives and sealed payloads."""

import asyncio
import contextlib
import contextvars
import os
import random
from collections import Counter
from collections.abc import Coroutine
from typing import Any

import msgspec
import pytest

from aiki.client import RunHandle
from aiki.codec import AesGcmCodec
from aiki.sdk import (
    Cache,
    Client,
    Concurrency,
    Context,
    LetterNotFound,
    NotRetryable,
    Rate,
    RunEnded,
    StepNotFound,
    TaskContext,
    event,
    task,
    workflow,
)
from aiki.transport import Faults
from tests.simulation.fleet import Fleet, Process
from tests.simulation.scenes import FAULTS, play

SEEDS = int(os.environ.get("AIKI_SEEDS", "40"))
LONG_SEEDS = int(os.environ.get("AIKI_LONG_SEEDS", "600"))
UNDOUBLED = msgspec.structs.replace(FAULTS, double=0.0)
EACH = 1
PATIENCE = 7200
BACK_AFTER = 0.5

go_on = event("go_on", int)


class Call(msgspec.Struct):
    customer: str
    number: int
    venom: int = 0
    """So many workers die of it."""


class World:
    """One trial: the fleet, what is at work, and the operator who retries what was given up."""

    def __init__(self) -> None:
        self.fleet: Fleet | None = None
        self.active: Counter[tuple[str, str]] = Counter()
        self.broken: list[str] = []
        self.killed: Counter[str] = Counter()
        self.letters = 0
        self.gone_back: set[str] = set()
        """Runs that were taken back to a step: what is recorded there runs again."""
        self._outside = contextvars.copy_context()
        self._ends: set[asyncio.Task[None]] = set()

    async def taste(self, key: str, call: Call) -> None:
        """Kills the process that it is called in, as often as the call says."""
        if self.killed[key] >= call.venom:
            return
        self.killed[key] += 1
        fleet, eater = self.fleet, asyncio.current_task()
        assert fleet is not None
        process = next(each for each in fleet.processes if eater in each.tasks)
        asyncio.get_running_loop().call_soon(self._kill, process, context=self._outside)
        await asyncio.Event().wait()

    def _kill(self, process: Process) -> None:
        end = asyncio.get_running_loop().create_task(self._replace(process))
        self._ends.add(end)
        end.add_done_callback(self._ends.discard)

    async def _replace(self, process: Process) -> None:
        if self.fleet is not None and process in self.fleet.processes:
            await self.fleet.replace(process, BACK_AFTER)

    async def operate(self, client: Client) -> None:
        """Retry whatever is given up, for ever."""
        while True:
            await asyncio.sleep(4)
            async for letter in client.dead_letters():
                self.letters += 1
                with contextlib.suppress(LetterNotFound):
                    try:
                        await client.dead_letters().retry(letter.id)
                    except NotRetryable:
                        await client.dead_letters().drop(letter.id)


def definitions(world: World, chance: random.Random) -> list[Any]:
    def began(name: str, context: TaskContext) -> None:
        assert world.fleet is not None
        if context.run_id not in world.gone_back:
            world.fleet.began(name, context)

    @task(name="gated", limits=[Concurrency(3), Concurrency(EACH, key=lambda call: call.customer)], max_deaths=3)
    async def gated(call: Call, context: TaskContext) -> int:
        began("gated", context)
        key = context.idempotency_key
        world.active[key, call.customer] += 1
        # The body of what was taken back goes on, and its place is free.
        same = [step for step in +world.active if step[1] == call.customer and step[0].partition("/")[0] not in world.gone_back]
        if len(same) > EACH:
            world.broken.append(f"{len(same)} at work for {call.customer!r}: {sorted(same)}")
        try:
            await world.taste(key, call)
            await asyncio.sleep(chance.choice((0, 0.05, 0.4)))
        finally:
            world.active[key, call.customer] -= 1
        return call.number * 10

    @task(name="rated", limits=[Rate(6, per=2.0)], cache=Cache(ttl=5, key=lambda call: call.number))
    async def rated(call: Call, context: TaskContext) -> int:
        began("rated", context)
        return call.number * 100

    @task(name="cached", cache=Cache(ttl=4), max_deaths=3)
    async def cached(call: Call, context: TaskContext) -> int:
        began("cached", context)
        await world.taste(context.idempotency_key, call)
        return call.number * 1000

    @task(name="here", local=True, cache=Cache(ttl=4))
    async def here(number: int) -> str:
        return str(number % 10) * 1500

    async def part(ctx: Context, call: Call, index: int) -> Any:
        match index % 5:
            case 0:
                return await gated.run(ctx, call)
            case 1:
                return await rated.run(ctx, call)
            case 2:
                return await cached.run(ctx, call)
            case 3:
                return len(await here.run(ctx, call.number))
            case _:
                return await asyncio.gather(gated.run(ctx, call), cached.run(ctx, call), rated.run(ctx, call))

    @workflow(name="path", archive=True)
    async def path(ctx: Context, calls: list[Call]) -> list[Any]:
        return [await part(ctx, call, index) for index, call in enumerate(calls)]

    @workflow(name="again", archive=True)
    async def again(ctx: Context, given: tuple[list[Call], list[Any]]) -> list[Any]:
        """Continues as new after each two parts, and leaves calls behind."""
        calls, results = given
        for _ in range(2):
            if len(results) == len(calls):
                return results
            results.append(await part(ctx, calls[len(results)], len(results)))
        if ctx.generation % 2:
            loose = [asyncio.create_task(gated.run(ctx, Call(str(ctx.random()), 1))), asyncio.create_task(cached.run(ctx, Call("z", 2)))]
            await ctx.sleep(0.01)
            assert loose
        return await ctx.continue_as_new((calls, results))

    @workflow(name="deadly", archive=True)
    async def deadly(ctx: Context, call: Call) -> list[int]:
        """Its code kills its workers; events come for it meanwhile."""
        first = await gated.run(ctx, Call(call.customer, 1))

        async def bite() -> int:
            await world.taste(ctx.run_id, call)
            return 7

        second = await ctx.step("bite", bite)
        return [first, second, await ctx.wait_for(go_on), await ctx.wait_for(go_on)]

    return [gated, rated, cached, here, path, again, deadly]


def expected(calls: list[Call]) -> list[Any]:
    results: list[Any] = []
    for index, call in enumerate(calls):
        n = call.number
        results.append([n * 10, n * 100, n * 1000, 1500, [n * 10, n * 1000, n * 100]][index % 5])
    return results


def some_calls(chance: random.Random, most: int) -> list[Call]:
    return [
        Call(chance.choice("abc"), chance.randrange(4), chance.choice((2, 4, 6)) if chance.random() < 0.08 else 0)
        for _ in range(chance.randrange(1, most))
    ]


def simulate(seed: int, *, lacking: int = 0, codec: bool | None = None, **options: Any) -> World:
    chance, world = random.Random(seed), World()
    parts = definitions(world, chance)
    path, again, deadly = parts[-3:]

    async def result(handle: RunHandle[Any]) -> Any:
        return await handle.wait_for_completion(timeout=PATIENCE)

    async def walk(chance: random.Random, client: Client, key: int) -> None:
        calls = some_calls(chance, 9)
        handle = await path.enqueue(client, calls, idempotency_key=f"path-{key}")
        for _ in range(chance.randrange(3)):
            if chance.random() < 0.3:
                await result(handle)
            else:
                await asyncio.sleep(chance.uniform(0, 6))
            world.gone_back.add(handle.id)
            with contextlib.suppress(StepNotFound):
                await handle.reset(chance.choice(("gated", "rated", "cached", "here")), call=chance.randrange(1, 3))
        assert await result(handle) == expected(calls)

    async def fork(chance: random.Random, client: Client, key: int) -> None:
        calls = some_calls(chance, 7)
        longer = calls + some_calls(chance, 3)
        handle = await path.enqueue(client, calls, idempotency_key=f"forked-{key}")
        await asyncio.sleep(chance.uniform(0, 6))
        try:
            other = await handle.fork(to_step=chance.choice(("gated", "cached")), payload=longer, idempotency_key=f"fork-{key}")
        except StepNotFound:
            other, longer = handle, calls
        assert await result(other) == expected(longer)
        assert await result(handle) == expected(calls)

    async def renew(chance: random.Random, client: Client, key: int) -> None:
        calls = some_calls(chance, 12)
        handle = await again.enqueue(client, (calls, []), idempotency_key=f"again-{key}")
        assert await result(handle) == expected(calls)

    async def die(chance: random.Random, client: Client, key: int) -> None:
        call = Call(chance.choice("abc"), 1, chance.choice((0, 1, 7)))
        handle = await deadly.enqueue(client, call, idempotency_key=f"deadly-{key}")
        for number in (2, 3):
            await asyncio.sleep(chance.uniform(0, 20))
            with contextlib.suppress(RunEnded):
                await handle.send(go_on, number, idempotency_key=str(number))
        assert await result(handle) == [10, 7, 2, 3]

    async def leave(chance: random.Random, client: Client, key: int) -> None:
        """A run that is cancelled, wherever its calls are."""
        handle = await path.enqueue(client, some_calls(chance, 9), idempotency_key=f"left-{key}")
        await asyncio.sleep(chance.uniform(0, 4))
        world.gone_back.add(handle.id)
        with contextlib.suppress(RunEnded):
            await (handle.terminate("enough") if chance.random() < 0.5 else handle.cancel())

    sealed = seed % 3 == 0 if codec is None else codec
    play(
        seed,
        parts,
        (walk, walk, fork, renew, renew, die, leave),
        chance=chance,
        resets=True,
        codec=AesGcmCodec({"k1": bytes(range(32))}, "k1") if sealed else None,
        lacking=lacking,
        on_fleet=lambda fleet: setattr(world, "fleet", fleet),
        beside=world.operate,
        afterwards=lambda fleet, client: settled(world, fleet, client),
        **options,
    )
    return world


def settled(world: World, fleet: Fleet, client: Client) -> Coroutine[Any, Any, None]:
    async def look() -> None:
        async with asyncio.timeout(PATIENCE):
            while left := leftovers(fleet):
                await asyncio.sleep(5)
                if asyncio.get_running_loop().time() > PATIENCE:
                    break
        assert not left, f"left behind: {left}"
        faults = fleet.server.faults
        if faults is None or not faults.double:  # a delivery that the network doubles runs two bodies
            assert not world.broken, world.broken

    return look()


def leftovers(fleet: Fleet) -> list[str]:
    """What is to be gone when nothing goes on any more."""
    found: list[str] = []
    dead = "$KV.aiki-dead-default"
    for pattern in ("aiki.default.wait.>", "aiki.default.gate.>", "aiki.default.task.>", f"{dead}.kept.>", f"{dead}.letter.>"):
        found += [subject for stream in fleet.server.streams.values() for subject in stream.subjects(pattern)]
    return found


@pytest.mark.parametrize("seed", range(SEEDS))
def test_calm(seed: int) -> None:
    simulate(seed, faults=Faults(), kills=0)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_kills_and_faults(seed: int) -> None:
    simulate(seed, faults=FAULTS if seed % 3 == 1 else UNDOUBLED, kills=6, cached_runs=1 if seed % 4 == 0 else 5000)


@pytest.mark.parametrize("seed", range(max(SEEDS // 2, 1)))
def test_workers_without_the_key(seed: int) -> None:
    simulate(seed, faults=UNDOUBLED if seed % 2 else Faults(), kills=3, codec=True, lacking=3)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_many_seeds() -> None:
    for seed in range(10_000, 10_000 + LONG_SEEDS):
        simulate(seed, faults=FAULTS if seed % 3 == 1 else UNDOUBLED, kills=seed % 10, cached_runs=1 if seed % 4 == 0 else 5000)
