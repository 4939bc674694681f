"""Random graphs under faults and kills: their results are those of a plain evaluation, and no recorded step begins again."""

import asyncio
import os
import random
from typing import Any

import pytest

from aiki.clock import VirtualClock, run_virtual
from aiki.graph import Graph, Node, progress_of
from aiki.sdk import Client, Context, Retry, TaskContext, graph, inputs, item, node, ref, task, workflow
from aiki.transport import Faults
from tests.simulation.fleet import Fleet

SEEDS = int(os.environ.get("AIKI_SEEDS", "40"))
LONG_SEEDS = int(os.environ.get("AIKI_LONG_SEEDS", "1500"))

FAULTS = Faults(lose=0.02, double=0.02, delay=(0.0005, 0.02), reorder=0.1, unknown=0.02)

Values = dict[str, Any]
"""What is expected of the nodes that are not skipped."""


def mix(numbers: list[int | None]) -> int:
    return sum((place + 1) * (31 if number is None else number) for place, number in enumerate(numbers)) % 1009


class Generated:
    """A random graph, and by rules of its own what it comes to. Values are numbers, or lists of them."""

    def __init__(self, chance: random.Random, mixers: list[Any]) -> None:
        self.chance = chance
        self.mixers = mixers
        self.nodes: list[Node] = []
        self.values: Values = {}
        self.lists: set[str] = set()
        self.input = [chance.randrange(100) for _ in range(4)]
        for number in range(chance.randrange(2, 11)):
            self.add(f"n{number}")
        chance.shuffle(self.nodes)

    def add(self, name: str) -> None:
        chance = self.chance
        known = [each.name for each in self.nodes]
        needs = chance.sample(known, min(len(known), chance.choice((0, 1, 1, 2, 3))))
        after = chance.sample(known, min(len(known), chance.choice((0, 0, 0, 1, 2))))
        kind = chance.choice(("plain", "plain", "each", "merge", "race")) if needs else chance.choice(("plain", "each"))
        options: dict[str, Any] = {"after": after}
        skipped = any(each not in self.values for each in after)
        limit = chance.randrange(100)
        if chance.random() < 0.35:
            options["when"] = (inputs[0] < limit) | (inputs[1] == 3)
            skipped |= not (self.input[0] < limit or self.input[1] == 3)
        terms: list[Any] = [inputs[chance.randrange(4)] for _ in range(2)]
        numbers: list[Any] = [self.input[term._term.key] for term in terms]
        if kind == "merge":
            # Whoever was skipped counts as its default, so that it skips nobody.
            terms += [self.number(each).otherwise(limit) for each in needs]
            numbers += [self.value(each, limit) for each in needs]
        elif kind == "race":
            # What wins is not known: it decides when this begins, and its value counts for nothing.
            del options["after"]
            options |= {"after": needs, "join": "any", "cancel_rest": chance.random() < 0.5}
            skipped = "when" in options and not (self.input[0] < limit or self.input[1] == 3)
            skipped |= not any(each in self.values for each in needs)
        else:
            terms += [self.number(each) for each in needs]
            skipped |= any(self.value(each, None) is None for each in needs)
            numbers += [self.value(each, 0) for each in needs]
        runs = chance.choice(self.mixers)
        if kind == "each":
            options |= {"each": terms, "input": [item, 7], "concurrency": chance.choice((1, 2, 10))}
            found: Any = [mix([number, 7]) for number in numbers]
            self.lists.add(name)
        else:
            options["input"] = terms
            found = mix(numbers)
        self.nodes.append(node(name, runs, **options))
        if not skipped:
            self.values[name] = found

    def number(self, name: str) -> Any:
        return ref(name)[0] if name in self.lists else ref(name)

    def value(self, name: str, default: Any) -> Any:
        found = self.values.get(name, default)
        return found[0] if isinstance(found, list) else found

    def graph(self, name: str) -> Graph[list[int], dict[str, Any]]:
        return graph(name=name, input=list[int], returns=dict[str, Any], nodes=self.nodes, retry=Retry.fixed(max_attempts=30, delay=0.5))

    def cancelled(self, made: Graph[Any, Any]) -> set[str]:
        """What a race may have taken back, and then counts as skipped."""
        return {name for each in made.nodes for name in made.rest_of(each)}


def mixers(box: list[Fleet], chance: random.Random) -> list[Any]:
    @task(name="local", local=True)
    async def local(numbers: list[int | None], context: TaskContext) -> int:
        box[0].began("local", context)
        await asyncio.sleep(chance.choice((0, 0, 0.01, 0.3)))
        return mix(numbers)

    @task(name="remote")
    async def remote(numbers: list[int | None], context: TaskContext) -> int:
        box[0].began("remote", context)
        await asyncio.sleep(chance.choice((0, 0.01, 0.4, 2.0)))
        return mix(numbers)

    @task(name="flaky", retry=Retry.schedule([0.2, 3.0]))
    async def flaky(numbers: list[int | None], context: TaskContext) -> int:
        if context.attempt <= mix(numbers) % 3:
            raise ValueError(f"attempt {context.attempt}")
        return mix(numbers)

    @workflow(name="child")
    async def child(ctx: Context, numbers: list[int | None]) -> int:
        await ctx.sleep(chance.choice((0.01, 0.5)))
        return mix(numbers)

    stumbled: set[str] = set()

    @task(name="stumble")
    async def stumble(numbers: list[int | None], context: TaskContext) -> int:
        """Ends the first attempt of the run."""
        if context.idempotency_key not in stumbled:
            stumbled.add(context.idempotency_key)
            raise ValueError("stumbles")
        return mix(numbers)

    return [local, remote, flaky, child, stumble]


async def trial(
    clock: VirtualClock, seed: int, *, faults: Faults, kills: int, cached_runs: int = 5000, always_replay: bool = False
) -> Fleet:
    chance = random.Random(seed)
    box: list[Fleet] = []
    parts = mixers(box, chance)
    generated = [Generated(chance, parts) for _ in range(5)]
    graphs = [each.graph(f"g{number}") for number, each in enumerate(generated)]
    fleet = Fleet(clock, seed, [*graphs, *parts], faults=faults, workers=3, cached_runs=cached_runs, always_replay=always_replay)
    box.append(fleet)
    await fleet.start()
    client = Client(fleet.server.connect("client"), clock=clock)
    runs: set[str] = set()

    async def start(number: int) -> None:
        await asyncio.sleep(chance.uniform(0, 2))
        plan, made = generated[number], graphs[number]
        handle = await made.enqueue(client, plan.input, idempotency_key=f"run-{number}")
        runs.add(handle.id)
        result = await handle.wait_for_completion(timeout=3600)
        expected = {name: plan.values[name] for name in made.ends if name in plan.values}
        assert result == expected, f"{made.render()}\ninput {plan.input}"

    async def reaper() -> None:
        for _ in range(kills):
            await asyncio.sleep(chance.uniform(0.05, 1.5))
            if len(fleet.processes) > 1:
                await fleet.replace(chance.choice(fleet.processes), chance.uniform(0.05, 2))

    async with asyncio.TaskGroup() as group:
        group.create_task(reaper())
        for number in range(len(graphs)):
            group.create_task(start(number))
    assert {fleet.results[run] for run in runs} == {"completed"}
    # What failed is tried again by the next attempt of the run, which the fleet's observer does not know.
    repeated = [each for each in fleet.repeated if "stumble!" not in each]
    assert not repeated, repeated
    if not faults.lose:  # reading is no subject of this test
        for number, made in enumerate(graphs):
            handle = await made.enqueue(client, generated[number].input, idempotency_key=f"run-{number}")
            states = {each.name: each.state for each in progress_of(made, await handle.describe())}
            cancelled = generated[number].cancelled(made)
            for name, state in states.items():
                wanted = {"done"} if name in generated[number].values else {"skipped"}
                assert state in wanted | ({"cancelled"} if name in cancelled else set()), f"{name} of\n{made.render()}"
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


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_many_seeds() -> None:
    for seed in range(10_000, 10_000 + LONG_SEEDS):
        simulate(seed, faults=FAULTS, kills=seed % 12, cached_runs=1 if seed % 4 == 0 else 5000)
