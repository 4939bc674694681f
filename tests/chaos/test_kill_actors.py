"""Workers that die by SIGKILL while actors are asked and told: every message counts once."""

import asyncio
import contextlib
import itertools
import random
from collections import Counter
from pathlib import Path

import pytest

from aiki.sdk import ActorRef
from aiki.types.errors import OutcomeUnknown
from tests.chaos.fleet import Fleet, Process
from tests.chaos.ledger import Ledger

ACTORS = 5


async def kill_hosts(folder: Path, *, messages: int, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    numbers = itertools.count(1)
    async with Fleet(folder) as fleet:

        async def worker() -> Process:
            process = await fleet.spawn("ledger", f"worker-{next(numbers)}")
            assert await process.line() == "ready"
            return process

        workers = list(await asyncio.gather(worker(), worker()))
        done = 0
        sure: set[str] = set()

        async def send(number: int) -> None:
            nonlocal done
            ledger = Ledger.ref(fleet.client, str(number % ACTORS), timeout=60)
            with contextlib.suppress(OutcomeUnknown):  # it counts once or not at all, which is told apart below
                await call(ledger, number)
                sure.add(f"m{number}")
            done += 1

        async def call(ledger: ActorRef[Ledger], number: int) -> None:
            match number // ACTORS % 4:
                case 0:
                    await ledger.ask.note(f"m{number}")
                case 1:
                    await ledger.tell.note(f"m{number}")
                case 2:
                    await ledger.ask.relay(f"m{number}")
                case 3:
                    await ledger.ask.later(f"m{number}")

        async def sender(share: range) -> None:
            for number in share:
                await send(number)

        senders = [asyncio.create_task(sender(range(first, messages, 8))) for first in range(8)]
        for number in range(1, kills + 1):
            while done < number * messages // (kills + 2):  # noqa: ASYNC110  # the senders go on meanwhile
                await asyncio.sleep(0.005)
            victim = workers.pop(chance.randrange(len(workers)))
            await victim.kill()
            workers.append(await worker())
        await asyncio.gather(*senders)

        expected = {str(id): {f"m{n}" for n in range(id, messages, ACTORS) if n // ACTORS % 4 != 2} for id in range(ACTORS)}
        expected |= {f"{id}-copy": {f"m{n}" for n in range(id, messages, ACTORS) if n // ACTORS % 4 == 2} for id in range(ACTORS)}
        for id, names in expected.items():
            ledger = Ledger.ref(fleet.client, id, timeout=60)
            async with asyncio.timeout(30):
                while not set(seen := await ledger.ask.read()) >= names & sure:  # noqa: ASYNC110  # they come in their time
                    await asyncio.sleep(0.05)
            assert set(seen) <= names
            assert [name for name, count in Counter(seen).items() if count > 1] == []


@pytest.mark.timeout(120)
async def test_workers_killed_while_actors_are_called(tmp_path: Path) -> None:
    await kill_hosts(tmp_path, messages=400, kills=3, seed=1)


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_workers_killed_many_times(tmp_path: Path) -> None:
    await kill_hosts(tmp_path, messages=1000, kills=8, seed=2)
