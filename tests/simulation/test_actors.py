"""Entity actors under faults: hosts die at any instant, messages are lost, late, doubled and reordered; each message counts once."""

import asyncio
import contextlib
import os
import random
from collections import Counter
from typing import Any

import msgspec
import pytest

from aiki.actor import ActorRef
from aiki.clock import VirtualClock, run_virtual
from aiki.entities import decode_entity, state
from aiki.sdk import Actor, ActorContext, Client, Context, actor, handler, workflow
from aiki.transport import Ack, Faults, Headers
from aiki.types.errors import AikiError
from tests.simulation.fleet import Fleet, Process

SEEDS = int(os.environ.get("AIKI_SEEDS", "40"))
LONG_SEEDS = int(os.environ.get("AIKI_LONG_SEEDS", "1500"))
FAULTS = Faults(lose=0.02, double=0.02, delay=(0.0005, 0.02), reorder=0.1, unknown=0.02)
ACTORS = 4


@actor(name="ledger")
class Ledger(Actor):
    """Writes down what it was asked and told."""

    seen: list[str] = []

    @handler
    async def note(self, ctx: ActorContext, name: str) -> int:
        self.seen.append(name)
        await asyncio.sleep(_chance.choice((0, 0, 0, 0.002, 0.3)))
        return len(self.seen)

    @handler
    async def fail(self, ctx: ActorContext, name: str) -> None:
        self.seen.append(name)
        raise ValueError(name)

    @handler
    async def relay(self, ctx: ActorContext, name: str) -> None:
        """Itself and, by a tell, the others."""
        self.seen.append(name)
        for number in range(ACTORS):
            if str(number) != ctx.id:
                await Ledger.ref(ctx, str(number)).tell.note(name)

    @handler
    async def later(self, ctx: ActorContext, name: str) -> None:
        ctx.remind(Ledger.note, name, after=_chance.choice((0.0, 1.0, 20.0)), name=name)

    @handler
    async def through(self, ctx: ActorContext, name: str) -> None:
        """By an ask of another, then itself; a deadlock may be found on the way."""
        await Ledger.ref(ctx, str((int(ctx.id) + 1) % ACTORS), timeout=60).ask.note(name)
        self.seen.append(name)

    @handler(read_only=True)
    async def count(self, ctx: ActorContext) -> int:
        self.seen.append("never")
        return len(self.seen) - 1


_chance = random.Random(0)


class Nobody(Process):
    """A process that serves nothing."""

    async def start(self) -> None: ...


class Observer:
    """Sees every commit: what was written down stays, in its order."""

    def __init__(self, fleet: Fleet) -> None:
        self.seen: dict[str, list[str]] = {}
        self.broken: list[str] = []
        store = fleet.server.store

        def spy(subject: str, data: bytes, headers: Headers) -> Ack:
            ack = store(subject, data, headers)
            if subject.startswith("$KV.aiki-actors-default."):
                self.committed(subject, data)
            return ack

        fleet.server.store = spy  # type: ignore[method-assign]

    def committed(self, subject: str, data: bytes) -> None:
        entity = decode_entity(data)
        seen: list[str] = msgspec.json.decode(entity.data)["seen"]
        before = self.seen.get(entity.actor, [])
        if seen[: len(before)] != before:
            self.broken.append(f"{entity.actor}: {before} became {seen}")
        if twice := [name for name, count in Counter(seen).items() if count > 1]:
            self.broken.append(f"{entity.actor}: twice: {twice}")
        self.seen[entity.actor] = seen


async def trial(clock: VirtualClock, seed: int, *, faults: Faults, kills: int, cuts: int = 0, messages: int = 60, **options: Any) -> None:
    chance = random.Random(seed)
    _chance.seed(seed)

    @workflow(name="caller")
    async def caller(ctx: Context, name: str) -> None:
        ledger = Ledger.ref(ctx, str(len(name) % ACTORS))
        await ledger.ask.note(f"{name}-asked")
        await ledger.tell.note(f"{name}-told")

    fleet = Fleet(clock, seed, [Ledger, caller], faults=faults, workers=3, **options)
    await fleet.start()
    observer = Observer(fleet)
    client = Client(fleet.server.connect("client"), clock=clock)
    must: list[tuple[str, str]] = []
    never: set[str] = set()
    relayed: set[str] = set()

    async def send(number: int) -> None:
        await asyncio.sleep(chance.uniform(0, 10))
        id, name = str(chance.randrange(ACTORS)), f"m{number}"
        ledger: ActorRef[Ledger] = Ledger.ref(client, id, timeout=60)
        kind = chance.choice(("ask", "ask", "tell", "tell", "fail", "relay", "relay-told", "later", "through", "count", "workflow"))
        try:
            match kind:
                case "ask":
                    await ledger.ask.note(name)
                    must.append((id, name))
                case "tell":
                    await ledger.tell.note(name)
                    must.append((id, name))
                case "fail":
                    never.add(name)
                    await (ledger.ask.fail(name) if number % 2 else ledger.tell.fail(name))
                case "relay" | "relay-told":
                    relayed.add(name)
                    await (ledger.ask.relay(name) if kind == "relay" else ledger.tell.relay(name))
                    must.extend((str(each), name) for each in range(ACTORS))
                case "later":
                    await ledger.ask.later(name)
                    must.append((id, name))
                case "through":
                    await ledger.ask.through(name)
                    must.extend(((id, name), (str((int(id) + 1) % ACTORS), name)))
                case "count":
                    await ledger.ask.count()
                case "workflow":
                    handle = await caller.enqueue(client, name, idempotency_key=name)
                    await handle.wait_for_completion(timeout=600)
                    must.extend((str(len(name) % ACTORS), f"{name}-{how}") for how in ("asked", "told"))
        except AikiError:
            pass  # nothing was promised; whatever was done was done once, which the observer sees

    async def die_asking() -> None:
        """A client asks, and it and the hosts die meanwhile: nobody asks again, and no message stands in the mailbox."""
        process = await fleet.add(Nobody)
        fleet.processes.remove(process)
        ledger = Ledger.ref(Client(process.transport, clock=clock), str(chance.randrange(ACTORS)), timeout=60)
        with contextlib.suppress(AikiError):
            await ledger.ask.count()  # now it knows where the actor is
        relayed.add("dying")
        asked = asyncio.ensure_future(ledger.ask.relay("dying"))
        await asyncio.sleep(chance.uniform(0, 0.1))
        process.kill()
        asked.cancel()
        for host in list(fleet.processes):
            await fleet.replace(host, 0.0)

    async def reaper() -> None:
        for _ in range(kills):
            await asyncio.sleep(chance.uniform(0.05, 2))
            await fleet.replace(chance.choice(fleet.processes), chance.uniform(0.05, 2))

    async def cutter() -> None:
        """Hosts that lose the network, and are given up by the others, and come back with what they had in hand."""
        dice = random.Random(f"{seed} cuts")
        for _ in range(cuts):
            await asyncio.sleep(dice.uniform(0.05, 3))
            transport = dice.choice(fleet.processes).transport
            transport.disconnect()
            await asyncio.sleep(dice.uniform(0.5, 8))
            transport.reconnect()

    async with asyncio.TaskGroup() as group:
        group.create_task(reaper())
        group.create_task(cutter())
        for number in range(messages):
            group.create_task(send(number))

    def missing() -> list[tuple[str, str]]:
        return [(id, name) for id, name in must if name not in observer.seen.get(f"ledger.{id}", ())]

    for _ in range(120):
        assert not observer.broken, observer.broken
        if not missing():
            break
        await asyncio.sleep(1)
    assert not missing(), missing()
    assert len(must) > messages / 3
    if kills:
        await die_asking()
    # Rest: whatever still comes finds everything done.
    await asyncio.sleep(120)
    assert not observer.broken, observer.broken
    everything = Counter(name for seen in observer.seen.values() for name in seen)
    assert not everything.keys() & never
    assert "never" not in everything
    # Also of what has no answer: a state that owes messages to others is followed by these.
    assert {everything[name] for name in relayed} <= {0, ACTORS}
    for process in fleet.processes:
        process.kill()


def simulate(seed: int, **options: Any) -> None:
    try:
        run_virtual(lambda clock: trial(clock, seed, **options))
    except BaseException as error:
        error.add_note(f"seed {seed}, options {options}")
        raise


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Actors that remember next to nothing but what they must."""
    monkeypatch.setattr(state, "KEPT", 2)
    monkeypatch.setattr(state, "KEPT_SECONDS", 0.1)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_calm(seed: int) -> None:
    simulate(seed, faults=Faults(), kills=0, cached_actors=0 if seed % 3 == 0 else 100)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_kills(seed: int) -> None:
    simulate(seed, faults=Faults(delay=(0.0005, 0.01)), kills=10)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_kills_and_faults(seed: int) -> None:
    simulate(seed, faults=FAULTS, kills=10, cached_actors=1 if seed % 4 == 0 else 100)


@pytest.mark.usefixtures("forgetful")
@pytest.mark.parametrize("seed", range(SEEDS))
def test_kills_and_faults_while_little_is_remembered(seed: int) -> None:
    simulate(seed, faults=FAULTS, kills=10)


@pytest.mark.usefixtures("forgetful")
@pytest.mark.parametrize("seed", range(SEEDS))
def test_hosts_that_come_back_while_little_is_remembered(seed: int) -> None:
    simulate(seed, faults=FAULTS, kills=2, cuts=6)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_many_seeds() -> None:
    for seed in range(10_000, 10_000 + LONG_SEEDS):
        simulate(seed, faults=FAULTS, kills=seed % 12, cached_actors=1 if seed % 4 == 0 else 100)
