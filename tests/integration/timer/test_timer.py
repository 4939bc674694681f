"""Schedules on real NATS: they fire, once each, also when a timer service is killed."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from aiki.actors import topology
from aiki.schedules import Overlap
from aiki.sdk import (
    BackfillTooLarge,
    Client,
    Context,
    InvalidSchedule,
    Schedule,
    ScheduleConflict,
    ScheduleNotFound,
    ScheduleView,
    Worker,
    workflow,
)
from aiki.services.timer import TimerService
from aiki.transport import EmbeddedNats


@workflow(name="note")
async def note(ctx: Context, text: str) -> str:
    return text


@asynccontextmanager
async def region(nats: EmbeddedNats, name: str) -> AsyncIterator[Client]:
    async with await Client.connect(nats.url, region=name) as client:
        await topology.init(client.transport, region=name)
        worker = Worker(client)
        worker.registry.add(note).add(watch)
        async with worker:
            yield client


async def until(client: Client, id: str, reached: Callable[[ScheduleView], bool]) -> ScheduleView:
    for _ in range(500):
        view = await client.schedule(id).describe()
        if reached(view):
            return view
        await asyncio.sleep(0.05)
    raise AssertionError(f"schedule {id} does not get there")


async def until_fired(client: Client, id: str, number: int) -> None:
    await until(client, id, lambda view: view.counts["fired"] >= number)


async def test_a_schedule_from_its_creation_to_its_end(nats: EmbeddedNats) -> None:
    async with region(nats, "timer-life") as client, TimerService(client):
        rule = Schedule.every(1, max_firings=2)
        schedule = await note.schedule(client, rule, "hello", id="every second.")
        await note.schedule(client, rule, "hello", id="every second.")
        with pytest.raises(ScheduleConflict):
            await note.schedule(client, rule, "other", id="every second.")
        await note.schedule(client, rule, "other", id="every second.", on_conflict="return_existing")
        await until_fired(client, schedule.id, 2)
        view = await schedule.describe()
        assert (view.state, view.counts["fired"], view.next) == ("finished", 2, ())
        for firing in view.recent:
            assert firing.run_id is not None
            assert 0 <= (firing.decided_at - firing.planned_at).total_seconds() < 2
            assert await note.handle(client, firing.run_id).wait_for_completion(timeout=10) == "hello"
        await schedule.delete()
        with pytest.raises(ScheduleNotFound):
            await schedule.describe()
        assert [each async for each in client.schedules()] == []


async def test_what_is_asked_of_a_schedule(nats: EmbeddedNats) -> None:
    async with region(nats, "timer-asked") as client, TimerService(client):
        schedule = await note.schedule(client, Schedule.cron("0 0 1 1 *"), "a", id="yearly")
        assert await (await schedule.trigger()).wait_for_completion(timeout=10) == "a"
        await schedule.pause("why not")
        view = await schedule.describe()
        assert (view.state, view.pause_reason, len(view.next)) == ("paused", "why not", 10)
        assert await schedule.update(payload="b", schedule=Schedule.cron("0 0 2 1 *"), revision=view.revision) == view.revision + 1
        with pytest.raises(ScheduleConflict):
            await schedule.update(payload="c", revision=view.revision)
        assert await (await schedule.trigger()).wait_for_completion(timeout=10) == "b"
        await schedule.resume()
        assert (await schedule.describe()).next[0].day == 2
        assert await schedule.backfill(datetime(2000, 1, 1, tzinfo=UTC), datetime(2019, 12, 31, tzinfo=UTC)) == 20
        view = await until(client, schedule.id, lambda view: not view.backfilling)
        assert (view.counts["backfilled"], view.counts["triggered"]) == (20, 2)
        await schedule.update(schedule=Schedule.every(1))
        with pytest.raises(BackfillTooLarge) as caught:
            await schedule.backfill(datetime(2000, 1, 1, tzinfo=UTC), datetime(2010, 1, 1, tzinfo=UTC))
        assert caught.value.count == 3653 * 86_400 + 1
        with pytest.raises(InvalidSchedule):
            await note.schedule(client, Schedule.every(1, end=datetime(2001, 1, 1, tzinfo=UTC)), "a", id="past")


@workflow(name="watch")
async def watch(ctx: Context, text: str) -> str:
    try:
        await ctx.sleep(timedelta(days=1))
    except asyncio.CancelledError:
        await ctx.step("tidy up", lambda: None)
        raise
    return text


@pytest.mark.parametrize(
    ("policy", "ending", "tidied"), [("cancel_previous", "cancelled", True), ("terminate_previous", "terminated", False)]
)
async def test_a_firing_ends_the_run_before(nats: EmbeddedNats, policy: Overlap, ending: str, tidied: bool) -> None:
    async with region(nats, f"timer-{ending}") as client, TimerService(client), TimerService(client):
        schedule = await watch.schedule(client, Schedule.every(1, overlap=policy, max_firings=3), "a", id="s")
        view = await until(client, "s", lambda view: view.state == "finished")
        assert (view.counts["fired"], view.counts[ending]) == (3, 2)
        assert [firing.outcome for firing in view.recent if firing.outcome == ending] == [ending] * 2
        handles = [watch.handle(client, firing.run_id) for firing in view.recent if firing.run_id is not None]
        for handle, following in pairwise(handles):
            run = await handle.describe()
            assert run.status.state == "cancelled"
            assert [step.name for step in run.steps] == ["tidy up"] * tidied
            assert run.status.error is not None and run.status.error.message == "schedule s: the next firing is due"
            # By the clock of the worker that had both: the timer service's reading of the server's clock may differ by some microseconds.
            began = (await following.get_status()).started_at
            assert run.status.finished_at is not None
            assert began is not None
            assert run.status.finished_at <= began
        assert len(handles) == 3
        await handles[-1].terminate()
        assert (await until(client, "s", lambda view: not view.running)).counts["fired"] == 3
        await schedule.delete()


SERVICE = """
import asyncio, sys
from aiki.sdk import Client
from aiki.services.timer import TimerService

async def main():
    async with await Client.connect(sys.argv[1], region=sys.argv[2]) as client:
        await TimerService(client).run()

asyncio.run(main())
"""


async def test_a_timer_service_is_killed(nats: EmbeddedNats) -> None:
    """Two replicas; one is killed, then the other, each replaced: every second of six seconds has fired, once."""

    async def replica() -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(sys.executable, "-c", SERVICE, nats.url, "timer-kill")

    async with region(nats, "timer-kill") as client:
        replicas = [await replica(), await replica()]
        try:
            for number in range(5):
                await note.schedule(client, Schedule.every(1, overlap="allow"), "x", id=f"s{number}")
            await until_fired(client, "s0", 1)
            for number in range(2, 5):
                victim = replicas.pop(0)
                os.kill(victim.pid, signal.SIGKILL)
                await victim.wait()
                replicas.append(await replica())
                await until_fired(client, "s0", number + 6)  # some are decided ahead of their instants, and taken back by the pause
            for number in range(5):
                await client.schedule(f"s{number}").pause()
                view = await client.schedule(f"s{number}").describe()
                planned = [firing.planned_at.timestamp() for firing in view.recent]
                assert planned == [planned[0] + step for step in range(len(planned))]
                assert len({firing.run_id for firing in view.recent}) == view.counts["fired"] == len(planned) >= 4
                for firing in view.recent:
                    assert firing.run_id is not None
                    assert await note.handle(client, firing.run_id).wait_for_completion(timeout=10) == "x"
            runs = [run.id async for run in client.runs(workflow="note")]
            assert len(runs) == len(set(runs)) == sum([view.counts["fired"] async for view in client.schedules()])
        finally:
            for process in replicas:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()


async def test_the_server_is_killed() -> None:
    """What was due while the server was away is made up for, in order, once each."""
    async with EmbeddedNats() as server, region(server, "timer-server") as client, TimerService(client):
        await note.schedule(client, Schedule.every(1, overlap="allow"), "x", id="steady")
        await until_fired(client, "steady", 1)
        await server.kill()
        await asyncio.sleep(2.5)
        await server.restart()
        await until_fired(client, "steady", 6)
        await client.schedule("steady").pause()
        view = await client.schedule("steady").describe()
        planned = [firing.planned_at.timestamp() for firing in view.recent]
        assert planned == [planned[0] + step for step in range(len(planned))]
        assert view.counts["missed"] == 0
        for firing in view.recent:
            assert firing.run_id is not None
            assert await note.handle(client, firing.run_id).wait_for_completion(timeout=20) == "x"
        assert len([run.id async for run in client.runs(workflow="note")]) == view.counts["fired"]
