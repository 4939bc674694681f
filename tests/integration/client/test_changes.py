"""Following a run by the announcements of its commits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta

import pytest

from aiki import actors
from aiki.sdk import Client, Context, RunNotFound, Worker, task, workflow
from aiki.transport import EmbeddedNats

STEPS = 5


@task(name="double")
async def double(number: int) -> int:
    return 2 * number


@workflow(name="chain")
async def chain(ctx: Context) -> int:
    value = 1
    for _ in range(STEPS):
        value = await double.run(ctx, value)
    return value


@workflow(name="nap")
async def nap(ctx: Context) -> str:
    await ctx.step("before", lambda: 1)
    await ctx.sleep(timedelta(seconds=4))
    return "rested"


@pytest.fixture
async def server() -> AsyncIterator[EmbeddedNats]:
    """A server of its own, to be restarted."""
    async with EmbeddedNats() as own:
        yield own


@pytest.fixture
async def client(server: EmbeddedNats) -> AsyncIterator[Client]:
    async with await Client.connect(server.url) as connected:
        await actors.init(connected.transport)
        yield connected


def serving(client: Client) -> Worker:
    worker = Worker(client)
    worker.registry.add(chain).add(nap).add(double)
    return worker


async def test_from_queued_to_completed(client: Client) -> None:
    handle = await chain.enqueue(client)
    revisions, states, steps = [], [], []
    async with aclosing(handle.changes()) as changes:
        first = await anext(changes)
        assert (first.status.state, first.revision) == ("queued", 0)
        async with serving(client):
            async for view in changes:
                revisions.append(view.revision)
                states.append(view.status.state)
                steps.append(len(view.steps))
    assert revisions == sorted(set(revisions))
    assert states[-1] == "completed"
    assert view.output == 2**STEPS
    assert steps == sorted(steps)
    assert steps[-1] == STEPS


async def test_of_a_run_that_has_ended_the_end_is_shown(client: Client) -> None:
    async with serving(client):
        handle = await chain.enqueue(client)
        await handle.wait_for_completion()
    assert [view.status.state async for view in handle.changes()] == ["completed"]


async def test_of_no_run(client: Client) -> None:
    with pytest.raises(RunNotFound):
        await anext((await client.handle("nowhere")).changes())


async def test_over_a_restart_of_the_server(server: EmbeddedNats, client: Client) -> None:
    async with serving(client):
        handle = await nap.enqueue(client)
        restarts = 0
        async with aclosing(handle.changes()) as changes:
            async for view in changes:
                if view.status.state == "sleeping" and not restarts:
                    restarts += 1
                    await server.restart()
        assert (restarts, view.status.state) == (1, "completed")


async def test_two_followers_see_the_same_end(client: Client) -> None:
    handle = await chain.enqueue(client)

    async def last() -> tuple[int, str]:
        return [(view.revision, view.status.state) async for view in handle.changes()][-1]

    async with serving(client):
        one, other = await asyncio.gather(last(), last())
    assert one == other
    assert one[1] == "completed"
