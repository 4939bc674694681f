"""Schedules under faults: timer services die at any instant, messages are lost, late, doubled and reordered; every firing is one run."""

import asyncio
import math
import os
import random
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from aiki.clock import VirtualClock, run_virtual
from aiki.schedules import OutRecall, OutStart, Schedule, ScheduleState, decode_schedule, upcoming
from aiki.sdk import Client, Context, ScheduleHandle, ScheduleView, workflow
from aiki.services.timer import TimerService
from aiki.transport import Ack, Faults, Headers
from aiki.types.errors import AikiError
from aiki.types.identifiers import scheduled_run_id
from tests.simulation.fleet import Fleet, Process

SEEDS = int(os.environ.get("AIKI_SEEDS", "100"))
LONG_SEEDS = int(os.environ.get("AIKI_LONG_SEEDS", "1500"))
OPERATED = ("skipping", "buffering", "cancelling", "terminating")
"""The schedules that operators change."""
MOST_TO_END = 30.0
"""Seconds in which a run that was told to end has ended, faults included; otherwise it may go on for a minute."""
FAULTS = Faults(lose=0.02, double=0.02, delay=(0.0005, 0.02), reorder=0.1, unknown=0.02)

Answer = TypeVar("Answer")


class Timer(Process):
    """A timer service."""

    async def start(self) -> None:
        # Slow by minutes, every other one: the server's clock counts.
        client = Client(self.transport, clock=VirtualClock(self.fleet.clock.loop, skew=-300.0 * (self.number % 2)))
        while True:
            try:
                await TimerService(client).start()
            except AikiError:
                continue
            return


class Operator(Process):
    """Somebody who changes schedules, and may die while doing so."""

    async def start(self) -> None:
        pass


class Observer:
    """Sees every commit of a schedule, and checks what must never be broken."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.states: dict[str, ScheduleState] = {}
        self.started: dict[str, set[str]] = {}
        self.told: dict[str, float] = {}
        self.recalled: set[str] = set()
        store = fleet.server.store

        def spy(subject: str, data: bytes, headers: Headers) -> Ack:
            ack = store(subject, data, headers)
            if subject.startswith("$KV.aiki-schedules-default."):
                self.committed(decode_schedule(data))
            return ack

        fleet.server.store = spy  # type: ignore[method-assign]

    def committed(self, state: ScheduleState) -> None:
        before = self.states.get(state.id)
        self.states[state.id] = state
        for run_id in state.told:
            self.told.setdefault(run_id, self.fleet.clock.now())
        self.started.setdefault(state.id, set()).update(entry.run_id for entry in state.outbox if isinstance(entry, OutStart))
        if before is None:
            return
        assert state.serial >= before.serial
        recalled = {entry.run_id for entry in state.outbox if isinstance(entry, OutRecall)}
        self.recalled |= recalled
        ended = set(before.running) - set(state.running) - self.recalled
        assert all(run_id in self.fleet.results for run_id in ended), f"{state.id}: {ended} were taken for ended"
        late = [run_id for run_id in ended if self.fleet.clock.now() - self.told.get(run_id, math.inf) > MOST_TO_END]
        assert not late, f"{state.id}: {late} went on though they were told to end"
        if state.planned is not None and before.planned is not None and not recalled:
            assert state.planned >= before.planned, f"{state.id} goes back"
        if state.schedule.overlap != "allow":
            planned = [run_id for run_id in state.running if self.is_planned(state, run_id)]
            assert len(planned) <= 1, f"{state.id}: {planned} at a time"

    @staticmethod
    def is_planned(state: ScheduleState, run_id: str) -> bool:
        return any(firing.run_id == run_id and firing.outcome == "fired" for firing in state.recent)


async def persistently(call: Callable[[], Awaitable[Answer]]) -> Answer:
    while True:
        try:
            return await call()
        except AikiError:
            await asyncio.sleep(0.2)


async def trial(clock: VirtualClock, seed: int, *, faults: Faults, kills: int, commands: int) -> None:
    chance = random.Random(seed)

    @workflow(name="planned")
    async def planned(ctx: Context, name: str) -> str:
        await ctx.sleep(chance.choice((0.0, 0.5, 4.0, 12.0)))
        return name

    @workflow(name="long-winded")
    async def long_winded(ctx: Context, name: str) -> str:
        try:
            await ctx.sleep(60 if ctx.random() < 0.3 else 1 + 14 * ctx.random())
        except asyncio.CancelledError:
            await ctx.sleep(6 * ctx.random())
            raise
        return name

    fleet = Fleet(clock, seed, [planned, long_winded], faults=faults, workers=2)
    await fleet.start()
    observer = Observer(fleet)
    for _ in range(3):
        await fleet.add(Timer)
    client = Client(fleet.server.connect("client"), clock=clock)
    rules = {
        "each": Schedule.every(chance.randrange(1, 9), overlap="allow", max_firings=8),
        "skipping": Schedule.cron("* * * * * */5", overlap="skip", max_firings=6),
        "buffering": Schedule.every(3, overlap="buffer_one", jitter=2, max_firings=6),
        "crowd": Schedule.every(1, overlap="allow", max_firings=20),
    }
    for name, rule in rules.items():
        await persistently(lambda name=name, rule=rule: planned.schedule(client, rule, name, id=name))  # type: ignore[misc]
    ending = {
        "cancelling": Schedule.every(5, overlap="cancel_previous", jitter=1, max_firings=5),
        "terminating": Schedule.every(4, overlap="terminate_previous", max_firings=5),
    }
    for name, rule in ending.items():
        await persistently(lambda name=name, rule=rule: long_winded.schedule(client, rule, name, id=name))  # type: ignore[misc]
    rules |= ending

    async def reaper() -> None:
        for _ in range(kills):
            await asyncio.sleep(chance.uniform(0.05, 3))
            await fleet.replace(chance.choice(fleet.processes), chance.uniform(0.05, 4))

    async def operator(number: int) -> None:
        await asyncio.sleep(chance.uniform(0, 30))
        process = Operator(fleet, 1000 + number)
        handle: ScheduleHandle = Client(process.transport, clock=clock).schedule(OPERATED[number])

        async def work() -> None:
            if chance.random() < 0.5:
                # The alarm comes, for nothing, while the schedule is paused: `resume` must leave another behind.
                await handle.pause("busy")
                await asyncio.sleep(15)
                await handle.resume()
            else:
                await handle.trigger()
                await handle.update(payload="new")

        task = asyncio.create_task(work())
        await asyncio.sleep(chance.choice((0.0, 15.0)) + chance.uniform(0, 0.3))
        process.kill()
        task.cancel()

    async with asyncio.TaskGroup() as group:
        group.create_task(reaper())
        for number in range(commands):
            group.create_task(operator(number))
    views: dict[str, ScheduleView] = {}
    for name in rules:
        handle = client.schedule(name)
        for _ in range(300):
            views[name] = await persistently(handle.describe)
            if views[name].state == "finished" and not views[name].running:
                break
            if views[name].state == "paused":  # whoever paused it died
                await persistently(handle.resume)
            await asyncio.sleep(1)
        else:
            raise AssertionError(f"schedule {name} does not end: {views[name]}")
    states: list[ScheduleState] = []
    for _ in range(60):
        states = [observer.states[name] for name in rules]
        if len(fleet.results) >= sum(state.counts.fired + state.counts.triggered for state in states):
            break
        await asyncio.sleep(1)
    # What was decided ahead of its instant and taken back has not run, unless that came too late.
    never = observer.recalled - fleet.results.keys()
    ended = {name: [fleet.results[run_id] for run_id in observer.started[name] - never] for name in rules}
    assert all(set(ended[name]) == {"completed"} for name in rules if name not in ending)
    for name in ending:
        tally = observer.states[name].counts
        assert set(ended[name]) <= {"completed", "cancelled"}
        # A run that was told to end may have ended by itself before it heard of that.
        assert ended[name].count("cancelled") <= tally.cancelled + tally.terminated <= len(ended[name])
    counted = sum(state.counts.fired + state.counts.triggered for state in states)
    assert counted <= len(fleet.results) <= counted + len(observer.recalled)
    for name, rule in rules.items():
        state, counts = observer.states[name], views[name].counts
        assert (counts["fired"], counts["missed"]) == (rule.max_firings, 0)
        if rule.overlap == "allow":
            instants = upcoming(rule, state.created_at, counts["fired"])
            assert {scheduled_run_id(name, state.born, "fire", at) for at in instants} <= set(fleet.results)
    for process in fleet.processes:
        process.kill()


def simulate(seed: int, **options: Any) -> None:
    try:
        run_virtual(lambda clock: trial(clock, seed, **options))
    except BaseException as error:
        error.add_note(f"seed {seed}, options {options}")
        raise


@pytest.mark.parametrize("seed", range(0, SEEDS, 4))
def test_calm(seed: int) -> None:
    simulate(seed, faults=Faults(), kills=0, commands=0)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_kills_and_faults(seed: int) -> None:
    simulate(seed, faults=FAULTS, kills=10, commands=0)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_kills_and_faults_and_operators_who_die(seed: int) -> None:
    simulate(seed, faults=FAULTS, kills=10, commands=4)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_many_seeds() -> None:
    for seed in range(10_000, 10_000 + LONG_SEEDS):
        simulate(seed, faults=FAULTS, kills=seed % 12, commands=seed % 5)
