"""What kills its workers is given up after a bounded number of them; nothing else waits, and nothing is lost."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from aiki.client import RunHandle
from aiki.clock import VirtualClock, run_virtual
from aiki.kv import DeadStore
from aiki.sdk import (
    Client,
    Concurrency,
    Context,
    LetterNotFound,
    NotRetryable,
    TaskPoisoned,
    WorkflowCancelled,
    WorkflowFailed,
    event,
    task,
    workflow,
)
from aiki.transport import Faults
from aiki.types.letters import DeadLetter
from tests.simulation.fleet import Fleet, Process

BACK_AFTER = 0.5
PATIENCE = 3600.0
go_on = event("go_on", int)

NO_FAULTS = Faults()
FAULTS = Faults(lose=0.02, double=0.02, delay=(0.0, 0.05), unknown=0.02)
SEEDS = range(8)


class Scene:
    """A fleet whose processes die of what is poisonous, as long as it is."""

    def __init__(self, clock: VirtualClock, seed: int, faults: Faults, workers: int) -> None:
        self.poisonous = True
        self.deaths = 0
        self.fleet = Fleet(clock, seed, [], faults=faults, workers=workers)
        self.client = Client(self.fleet.server.connect("client"), clock=clock)
        self._outside = contextvars.copy_context()
        self._ends: set[asyncio.Task[None]] = set()

    async def open(self, *definitions: Any) -> None:
        """Workers serve these."""
        self.fleet.definitions = list(definitions)
        await self.fleet.start()

    async def taste(self) -> None:
        """Kills the process that it is called in, while things are poisonous; another takes its place."""
        if not self.poisonous:
            return
        self.deaths += 1
        eater = asyncio.current_task()
        process = next(each for each in self.fleet.processes if eater in each.tasks)
        asyncio.get_running_loop().call_soon(self._kill, process, context=self._outside)
        await asyncio.Event().wait()

    def _kill(self, process: Process) -> None:
        end = asyncio.get_running_loop().create_task(self._replace(process))
        self._ends.add(end)
        end.add_done_callback(self._ends.discard)

    async def _replace(self, process: Process) -> None:
        if process in self.fleet.processes:
            await self.fleet.replace(process, BACK_AFTER)


async def held(scene: Scene, count: int = 1) -> list[str]:
    """The ids of the dead letters, once there are so many."""
    async with asyncio.timeout(PATIENCE):
        while True:
            letters = [letter.id async for letter in scene.client.dead_letters()]
            if len(letters) >= count:
                return letters
            await asyncio.sleep(1)


async def result(handle: RunHandle[Any]) -> Any:
    return await handle.wait_for_completion(timeout=PATIENCE)


def play(seed: int, made: Callable[[Scene], Awaitable[None]], faults: Faults = NO_FAULTS, workers: int = 3) -> None:
    async def run(clock: VirtualClock) -> None:
        scene = Scene(clock, seed, faults, workers)
        await made(scene)
        assert scene.fleet.repeated == []
        for process in scene.fleet.processes:
            process.kill()

    run_virtual(run)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_task_that_kills_its_workers_is_held_and_nothing_else_waits(seed: int) -> None:
    async def made(scene: Scene) -> None:
        @task(name="poison")
        async def poison(number: int) -> int:
            await scene.taste()
            return number

        @task(name="fine")
        async def fine(number: int) -> int:
            await asyncio.sleep(2)
            return number

        @workflow(name="bad")
        async def bad(ctx: Context) -> int:
            return await poison.run(ctx, 7)

        @workflow(name="good")
        async def good(ctx: Context, number: int) -> int:
            return sum([await fine.run(ctx, number + part) for part in range(4)])

        await scene.open(poison, fine, bad, good)
        victim = await bad.enqueue(scene.client)
        others = [await good.enqueue(scene.client, number) for number in range(10)]
        letters = await held(scene)
        assert await asyncio.gather(*(result(other) for other in others)) == [4 * number + 6 for number in range(10)]
        found = [letter async for letter in scene.client.dead_letters()]
        assert [(each.kind, each.task, each.run_id, each.code) for each in found] == [("task", "poison", victim.id, "task_poisoned")]
        assert 5 <= len(found[0].workers) == len(set(found[0].workers))
        assert scene.deaths <= 8
        deaths = scene.deaths
        await asyncio.sleep(60)
        assert scene.deaths == deaths
        status = await victim.get_status()
        assert status.state == "stalled"
        assert letters[0] in status.waiting_on[0]
        scene.poisonous = False
        await scene.client.dead_letters().retry(letters[0])
        assert await result(victim) == 7
        assert [letter async for letter in scene.client.dead_letters()] == []

    play(seed, made, FAULTS)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_run_that_kills_its_workers_is_held_with_all_that_comes_for_it(seed: int) -> None:
    async def made(scene: Scene) -> None:
        @task(name="fine")
        async def fine(number: int) -> int:
            await asyncio.sleep(1)
            return number

        @workflow(name="bad", events=[go_on])
        async def bad(ctx: Context) -> list[int]:
            first = await fine.run(ctx, 1)
            await ctx.step("poison", scene.taste)
            return [first, await ctx.wait_for(go_on), await ctx.wait_for(go_on)]

        @workflow(name="good")
        async def good(ctx: Context, number: int) -> int:
            return sum([await fine.run(ctx, number + part) for part in range(4)])

        await scene.open(fine, bad, good)
        victim = await bad.enqueue(scene.client)
        others = [await good.enqueue(scene.client, number) for number in range(10)]
        assert await held(scene) == [victim.id]
        assert await asyncio.gather(*(result(other) for other in others)) == [4 * number + 6 for number in range(10)]
        deaths = scene.deaths
        assert deaths <= 8
        await victim.send(go_on, 2)
        await victim.send(go_on, 3)
        await asyncio.sleep(60)
        assert scene.deaths == deaths
        status = await victim.get_status()
        assert (status.state, status.error and status.error.code) == ("stalled", "run_poisoned")
        subjects = scene.client.subjects
        assert await scene.client.transport.subjects(subjects.mail_stream, f"{subjects.run_mail('bad', '1.0.0')}>") == []
        scene.poisonous = False
        await scene.client.dead_letters().retry(victim.id)
        assert await result(victim) == [1, 2, 3]

    play(seed, made, FAULTS)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_run_that_kills_its_workers_before_its_first_commit(seed: int) -> None:
    async def made(scene: Scene) -> None:
        @workflow(name="bad")
        async def bad(ctx: Context, number: int) -> int:
            await ctx.step("poison", scene.taste)
            return number

        await scene.open(bad)
        kept, dropped = await bad.enqueue(scene.client, 1), await bad.enqueue(scene.client, 2)
        assert sorted(await held(scene, 2)) == sorted([kept.id, dropped.id])
        await scene.client.dead_letters().drop(dropped.id)
        with pytest.raises(WorkflowCancelled, match="dropped"):
            await result(dropped)
        scene.poisonous = False
        await scene.client.dead_letters().retry(kept.id)
        assert await result(kept) == 1
        with pytest.raises(LetterNotFound):
            await scene.client.dead_letters().retry(kept.id)

    play(seed, made, FAULTS)


def test_a_task_that_is_dropped_or_declared_so_fails_and_its_workflow_can_catch_that() -> None:
    async def made(scene: Scene) -> None:
        @task(name="poison", max_deaths=2)
        async def poison(number: int) -> int:
            await scene.taste()
            return number

        @task(name="declared", max_deaths=2, on_poison="fail")
        async def declared(number: int) -> int:
            await scene.taste()
            return number

        @workflow(name="bad")
        async def bad(ctx: Context, which: str) -> str:
            try:
                await (poison if which == "poison" else declared).run(ctx, 1)
            except TaskPoisoned as error:
                return f"{error.task}: {error.code}"
            return "it ran"

        await scene.open(poison, declared, bad)
        assert await result(await bad.enqueue(scene.client, "declared")) == "declared: task_poisoned"
        victim = await bad.enqueue(scene.client, "poison")
        (letter,) = await held(scene)
        await scene.client.dead_letters().drop(letter)
        assert await result(victim) == "poison: task_poisoned"

    play(1, made)


def test_a_letter_that_nobody_waits_for_is_not_retried() -> None:
    async def made(scene: Scene) -> None:
        @task(name="poison", max_deaths=2)
        async def poison(number: int) -> int:
            await scene.taste()
            return number

        @workflow(name="bad")
        async def bad(ctx: Context) -> int:
            return await poison.run(ctx, 1)

        await scene.open(poison, bad)
        victim = await bad.enqueue(scene.client)
        (letter,) = await held(scene)
        await victim.terminate("enough")
        with pytest.raises(WorkflowCancelled):
            await result(victim)
        with pytest.raises(NotRetryable, match="dlq drop"):
            await scene.client.dead_letters().retry(letter)
        await scene.client.dead_letters().drop(letter)
        assert [each async for each in scene.client.dead_letters()] == []

    play(1, made)


@pytest.mark.parametrize("seed", SEEDS)
def test_long_calls_that_die_with_the_culprit_are_not_given_up_for_it(seed: int) -> None:
    async def made(scene: Scene) -> None:
        @task(name="poison")
        async def poison(number: int) -> int:
            await scene.taste()
            return number

        @task(name="long")
        async def long(number: int) -> int:
            await asyncio.sleep(20)
            return number

        @workflow(name="bad")
        async def bad(ctx: Context) -> int:
            return await poison.run(ctx, 7)

        @workflow(name="good")
        async def good(ctx: Context) -> list[int]:
            return list(await asyncio.gather(*(long.run(ctx, number) for number in range(6))))

        await scene.open(poison, long, bad, good)
        innocent = await good.enqueue(scene.client)
        victim = await bad.enqueue(scene.client)
        assert await result(innocent) == [0, 1, 2, 3, 4, 5]
        assert await held(scene) == [f"{victim.id}-1"]

    play(seed, made, FAULTS, workers=1)


def test_a_run_that_had_ended_and_kills_when_it_is_retried_is_held() -> None:
    async def made(scene: Scene) -> None:
        scene.poisonous = False

        @workflow(name="bad")
        async def bad(ctx: Context) -> int:
            if ctx.attempt == 1:
                raise ValueError("no")
            await ctx.step("poison", scene.taste)
            return 2

        @workflow(name="good")
        async def good(ctx: Context) -> int:
            return 1

        await scene.open(bad, good)
        victim = await bad.enqueue(scene.client)
        with pytest.raises(WorkflowFailed, match="no"):
            await result(victim)
        scene.poisonous = True
        await victim.retry()
        assert await held(scene) == [victim.id]
        deaths = scene.deaths
        assert 5 <= deaths <= 8
        await asyncio.sleep(300)
        assert scene.deaths == deaths
        assert await result(await good.enqueue(scene.client)) == 1
        scene.poisonous = False
        await scene.client.dead_letters().retry(victim.id)
        assert await result(victim) == 2

    play(1, made)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_fork_that_kills_its_workers_is_held_with_the_journal_that_it_begins_with(seed: int) -> None:
    async def made(scene: Scene) -> None:
        scene.poisonous = False
        ran: list[int] = []

        async def first() -> int:
            ran.append(1)
            return 1

        @workflow(name="bad")
        async def bad(ctx: Context, number: int) -> int:
            begun = await ctx.step("first", first)
            await ctx.step("poison", scene.taste)
            return begun + number

        await scene.open(bad)
        source = await bad.enqueue(scene.client, 1)
        assert await result(source) == 2
        scene.poisonous = True
        fork = await source.fork(to_step="poison", payload=10)
        assert await held(scene) == [fork.id]
        await scene.client.store.purge(source.id)  # its time is over meanwhile
        assert (await fork.get_status()).state == "stalled"
        scene.poisonous = False
        await scene.client.dead_letters().retry(fork.id)
        assert await result(fork) == 11
        assert len(ran) == 1, "what is in its journal is not run again"

    play(seed, made, FAULTS if seed % 2 else NO_FAULTS)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_retried_call_passes_its_gate_like_any_other(seed: int) -> None:
    async def made(scene: Scene) -> None:
        at_work, most = 0, 0

        @task(name="limited", limits=[Concurrency(1, key=lambda number: "one")], max_deaths=2)
        async def limited(number: int) -> int:
            nonlocal at_work, most
            if number < 0:
                await scene.taste()
            at_work += 1
            most = max(most, at_work)
            await asyncio.sleep(5)
            at_work -= 1
            return number

        @workflow(name="one")
        async def one(ctx: Context, number: int) -> int:
            return await limited.run(ctx, number)

        await scene.open(limited, one)
        victim = await one.enqueue(scene.client, -1)
        letters = await held(scene)
        others = [await one.enqueue(scene.client, number) for number in range(4)]
        await asyncio.sleep(2)
        scene.poisonous = False
        await scene.client.dead_letters().retry(letters[0])
        assert await asyncio.gather(*(result(other) for other in others)) == [0, 1, 2, 3], "it holds no place while it is held"
        assert await result(victim) == -1
        assert most == 1

    play(seed, made)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_run_whose_holder_dies_before_its_letter_is_written_is_listed_all_the_same(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async def made(scene: Scene) -> None:
        @workflow(name="bad")
        async def bad(ctx: Context) -> int:
            await ctx.step("poison", scene.taste)
            return 1

        async def last_words(self: DeadStore, letter: DeadLetter) -> None:
            await scene.taste()

        await scene.open(bad)
        with monkeypatch.context() as patch:
            patch.setattr(DeadStore, "write", last_words)
            victim = await bad.enqueue(scene.client)
            async with asyncio.timeout(PATIENCE):
                while (await victim.get_status()).error is None:  # noqa: ASYNC110  # the last holder dies of saying so
                    await asyncio.sleep(0.1)
        assert [letter async for letter in scene.client.dead_letters()] == []
        assert await held(scene) == [victim.id]
        scene.poisonous = False
        await scene.client.dead_letters().retry(victim.id)
        assert await result(victim) == 1
        assert [letter async for letter in scene.client.dead_letters()] == []

    play(seed, made)
