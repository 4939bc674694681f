"""Archiving under faults: workers and archivers die, the disk fails half-way through a write, runs are retried, the network lies.

Whatever happens, a run is gone from the store only when the record of its last end is in a file, which can be read.
"""

import asyncio
import contextlib
import os
import random
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from aiki.archive import Archive
from aiki.client import RunHistory
from aiki.client.imports import read_history
from aiki.clock import VirtualClock, run_virtual
from aiki.sdk import Archiver, Client, Context, NotRetryable, Retention, RunNotFound, task, workflow
from aiki.transport import Faults
from aiki.types.errors import AikiError
from tests.simulation.fleet import Fleet, Process

SEEDS = int(os.environ.get("AIKI_SEEDS", "15"))
LONG_SEEDS = int(os.environ.get("AIKI_LONG_SEEDS", "1000"))
FAULTS = Faults(lose=0.02, double=0.02, delay=(0.0005, 0.02), reorder=0.1, unknown=0.02)
RUNS = 12


@contextmanager
def bad_disk(chance: random.Random) -> Iterator[None]:
    """What was written may be cut off, and then nobody is told that it is on the disk."""
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if chance.random() < 0.2:
            size = os.fstat(descriptor).st_size
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                os.ftruncate(descriptor, max(0, size - chance.randrange(1, 100)))
                raise OSError(5, "Input/output error")
        real(descriptor)

    patch = pytest.MonkeyPatch()
    patch.setattr("aiki.archive.writer.os.fsync", fsync)
    try:
        yield
    finally:
        patch.undo()


def archivers(folder: Path) -> type[Process]:
    class Keeper(Process):
        """An archiver."""

        async def start(self) -> None:
            client = Client(self.transport, clock=self.fleet.clock)
            while True:
                try:
                    await Archiver(client, folder).start()
                except AikiError:
                    continue
                return

    return Keeper


async def trial(clock: VirtualClock, seed: int, folder: Path, *, faults: Faults, kills: int) -> None:
    chance = random.Random(seed)

    @task(name="work")
    async def work(number: int) -> str:
        return str(number % 10) * chance.choice((10, 20_000))

    @workflow(name="archived", archive=True, retention=Retention(completed=1, failed=40))
    async def archived(ctx: Context, number: int) -> int:
        total = sum([len(await work.run(ctx, number + step)) for step in range(4)])
        await ctx.sleep(ctx.random())
        if number % 3 == 0 and ctx.attempt == 1:
            raise ValueError("fails once")
        return total

    fleet = Fleet(clock, seed, [archived, work], faults=faults, workers=2)
    await fleet.start()
    keeper = archivers(folder)
    for _ in range(2):
        await fleet.add(keeper)
    client = Client(fleet.server.connect("client"), clock=clock)
    handles = [await archived.enqueue(client, number) for number in range(RUNS)]
    retried = handles[::3]

    async def reaper() -> None:
        for _ in range(kills):
            await asyncio.sleep(chance.uniform(0.05, 1.5))
            await fleet.replace(chance.choice(fleet.processes), chance.uniform(0.05, 2))

    async def retrier() -> None:
        """At the time at which the archiver has the run in its hands, more often than not."""
        for handle in retried:
            for _ in range(400):
                try:
                    await handle.retry()
                except (NotRetryable, AikiError) as error:
                    if isinstance(error, RunNotFound) and handle.id in fleet.results:
                        break
                    await asyncio.sleep(chance.uniform(0.01, 0.2))
                else:
                    break

    async with asyncio.TaskGroup() as group:
        group.create_task(reaper())
        group.create_task(retrier())
    for _ in range(600):
        if len(fleet.results) == RUNS and not await held(client):
            break
        await asyncio.sleep(1)
    else:
        raise AssertionError(f"{await held(client)} wait for an archiver, {len(fleet.results)} of {RUNS} have ended")
    await asyncio.sleep(120)
    stream, prefix = client.subjects.runs_stream, client.subjects.runs_prefix
    left = {key.removeprefix(prefix) for key in await surely(lambda: client.transport.subjects(stream, prefix + ">"))}
    archive = Archive(folder)
    for handle in handles:
        record = archive.find(handle.id)
        assert record is not None, f"run {handle.id} is gone, and in no file"
        assert record.outcome == fleet.results[handle.id], "of its last end"
        assert record.run_id not in left, "its retention is over"
        # All of it is there, the sealed segments too.
        history = RunHistory(
            run_id=record.run_id, workflow=record.workflow, version=record.version, state=record.state, segments=record.segments
        )
        state = read_history(history)
        if handle not in retried:
            # Whoever takes a run up again has its segments kept before it commits, and may come too late; and a host that was overtaken
            # may have sealed one that no state names. Those stay behind.
            named = zip([0, *state.sealed], state.sealed, strict=False)
            assert left.isdisjoint(f"{record.run_id}.s{begin}-{end}" for begin, end in named)
    found = [record.end for record in archive.records()]
    assert len(found) == len(set(found))
    assert fleet.repeated == []
    for process in fleet.processes:
        process.kill()


async def surely(call: Any) -> Any:
    while True:
        try:
            return await call()
        except AikiError:
            await asyncio.sleep(0.2)


async def held(client: Client) -> list[str]:
    """Runs that have ended and wait for an archiver."""
    found = []
    for run_id in await surely(client.store.ids):
        loaded = await surely(lambda run_id=run_id: client.load(run_id))
        if loaded is not None and loaded[0].awaits_archive:
            found.append(run_id)
    return found


def simulate(seed: int, **options: Any) -> None:
    with tempfile.TemporaryDirectory() as folder, bad_disk(random.Random(f"{seed} disk")):
        try:
            run_virtual(lambda clock: trial(clock, seed, Path(folder), **options))
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise


def test_kills_and_faults() -> None:
    for seed in range(SEEDS):
        simulate(seed, faults=FAULTS, kills=8)


def test_an_archiver_that_trusts_the_disk_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """What simulation is worth: an archiver that lets a run go though its write has failed loses one soon."""
    add = Archive.add

    def careless(self: Archive, records: Any) -> None:
        with contextlib.suppress(OSError):
            add(self, records)

    monkeypatch.setattr(Archive, "add", careless)
    with pytest.raises(AssertionError, match=r"in no file|of its last end"):
        for seed in range(30):
            simulate(seed, faults=FAULTS, kills=2)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_many_kills_and_faults() -> None:
    for seed in range(LONG_SEEDS):
        simulate(seed, faults=FAULTS, kills=20)
