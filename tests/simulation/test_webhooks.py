"""Webhooks under faults: workers die and the network lies, several gateways are told different answers, and one of them counts."""

import asyncio
import os
import random
from collections import defaultdict
from typing import Any

import pytest

from aiki.client.webhooks import Delivered, Webhooks
from aiki.clock import VirtualClock, run_virtual
from aiki.sdk import Client, Context, EventTimeout, PayloadError, RunEnded, workflow
from aiki.transport import Faults
from aiki.transport.surely import surely
from aiki.types.errors import AikiError
from aiki.types.messages import Event, encode
from aiki.webhooks import Ticket
from tests.simulation.fleet import Fleet, Process

SEEDS = int(os.environ.get("AIKI_SEEDS", "40"))
LONG_SEEDS = int(os.environ.get("AIKI_LONG_SEEDS", "1000"))
FAULTS = Faults(lose=0.02, double=0.02, delay=(0.0005, 0.02), reorder=0.1, unknown=0.02)

RUNS, HOOKS, GATEWAYS = 3, 2, 3


class Gateway(Process):
    """What takes answers, and may die while doing so."""

    async def start(self) -> None:
        pass


class World:
    """What the senders see and are told."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.urls: dict[tuple[str, int], set[str]] = defaultdict(set)
        self.made: dict[tuple[str, int], asyncio.Event] = defaultdict(asyncio.Event)
        self.told: dict[tuple[str, int], dict[int, Delivered]] = defaultdict(dict)
        self.sent: dict[tuple[str, int], set[int]] = defaultdict(set)


async def trial(clock: VirtualClock, seed: int, *, faults: Faults, kills: int, replay: bool = False) -> None:
    world = World(random.Random(seed))
    chance = world.chance

    @workflow(name="asks")
    async def asks(ctx: Context, runs: int) -> list[int]:
        hooks = [await ctx.webhook("part", int) for _ in range(HOOKS)]
        for number, hook in enumerate(hooks):
            world.urls[ctx.run_id, number].add(hook.url)
            world.made[ctx.run_id, number].set()
        answers = []
        for hook in hooks:
            try:
                answers.append(await hook.wait(timeout=0.5))
            except EventTimeout:
                answers.append(await hook.wait())
            await ctx.step("taken", lambda: None)
        return answers

    fleet = Fleet(clock, seed, [asks], faults=faults, workers=2, always_replay=replay)
    await fleet.start()
    client = Client(fleet.server.connect("client"), clock=clock)
    handles = [await asks.enqueue(client, number, idempotency_key=f"{seed}/{number}") for number in range(RUNS)]

    async def sender(key: tuple[str, int], answer: int) -> None:
        """A sender insists until it is told; its gateway dies in between, and it goes to another."""
        await world.made[key].wait()
        await asyncio.sleep(chance.uniform(0, 4))
        token = chance.choice(sorted(world.urls[key])).rpartition("/")[2]
        world.sent[key].add(answer)
        while answer not in world.told[key]:
            gateway = Gateway(fleet, 1000)
            gate = Client(gateway.transport, clock=clock)
            try:
                async with asyncio.timeout(chance.choice((0.05, 20))):
                    if chance.random() < 0.2:
                        with pytest.raises(PayloadError):
                            await gate.deliver_webhook(token, b'"no number"')
                    world.told[key][answer] = await gate.deliver_webhook(token, str(answer).encode())
            except (TimeoutError, AikiError) as error:
                assert not isinstance(error, RunEnded), "a run has ended with a hook that had no answer"
            except pytest.fail.Exception:  # an answer is there already: then the body is not looked at
                world.told[key][answer] = "already_received"
            gateway.kill()
            await asyncio.sleep(0.05)

    async def reaper() -> None:
        for _ in range(kills):
            await asyncio.sleep(chance.uniform(0.05, 1.5))
            await fleet.replace(chance.choice(fleet.processes), chance.uniform(0.05, 2))

    async with asyncio.TaskGroup() as group:
        group.create_task(reaper())
        for handle in handles:
            for number in range(HOOKS):
                for gateway in range(GATEWAYS):
                    group.create_task(sender((handle.id, number), 100 * number + gateway))
    for handle in handles:
        answers = await handle.wait_for_completion()
        for number, answer in enumerate(answers):
            key = (handle.id, number)
            assert answer in world.sent[key]
            received = [each for each, told in world.told[key].items() if told == "received"]
            # Whoever was told that it was received was: of others, one may not have heard of it before its gateway died.
            assert received in ([], [answer]), f"{key}: {received} were received, and the run has {answer}"
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
    simulate(seed, faults=Faults(), kills=0)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_kills_and_faults(seed: int) -> None:
    simulate(seed, faults=FAULTS, kills=8, replay=seed % 4 == 0)


@pytest.mark.filterwarnings("ignore")
def test_planted_fault_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gateways that do not look, and say of whatever they have sent that it was received."""

    async def send(self: Webhooks, ticket: Ticket, body: bytes) -> Delivered:
        word = Event(id=ticket.event, name=ticket.event, payload=body)
        await surely(lambda: self._client.transport.publish(self._subject(ticket), encode(word)))
        return "received"

    monkeypatch.setattr(Webhooks, "_deliver", send)
    for seed in range(100):
        try:
            simulate(seed, faults=FAULTS, kills=8)
        except BaseException as error:
            print(f"found with seed {seed}: {str(error)[:200]}")
            return
    pytest.fail("not noticed in 100 seeds")


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_many_seeds() -> None:
    for seed in range(10_000, 10_000 + LONG_SEEDS):
        simulate(seed, faults=FAULTS, kills=seed % 12, replay=seed % 5 == 0)
