"""Queues that are paused as a whole."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from aiki.actors import queues
from aiki.sdk import Client, Context, DefinitionError, InvalidName, task, workflow
from tests.integration.engine.place import Place, eventually

SOON = 20.0


@task(name="double")
async def double(number: int) -> int:
    return 2 * number


@task(name="triple")
async def triple(number: int) -> int:
    return 3 * number


@workflow(name="both")
async def both(ctx: Context, number: int) -> list[int]:
    return list(await asyncio.gather(double.run(ctx, number), triple.run(ctx, number)))


@workflow(name="one")
async def one(ctx: Context, number: int) -> int:
    return await double.run(ctx, number)


async def waiting(client: Client, queue: str) -> int:
    found = [each for each in await client.queues() if each.name == queue]
    return sum(each.waiting for view in found for each in view.tasks)


async def test_a_paused_queue_hands_out_nothing_to_old_and_new_workers(place: Place) -> None:
    client = place.client
    assert await client.queues() == []
    await place.worker(both, one, double)
    assert await (await one.enqueue(client, 1)).wait_for_completion(SOON) == 2
    await client.pause_queue("default", "the bank is closed")
    (view,) = await client.queues()
    assert (view.name, view.paused, view.reason, view.until) == ("default", True, "the bank is closed", None)
    handle = await both.enqueue(client, 2)
    await place.worker(triple)  # comes later, with a task that the queue did not have
    await place.worker(double)
    await eventually(lambda: _is(client, 2))
    await client.pause_queue("default", "still closed")
    assert (await handle.get_status()).state == "awaiting_task"
    assert all(step.started_at is None for step in (await handle.describe()).steps)
    await client.resume_queue("default")
    assert await handle.wait_for_completion(SOON) == [4, 6]
    (view,) = await client.queues()
    assert (view.paused, [each.task for each in view.tasks]) == (False, ["double", "triple"])
    await client.resume_queue("default")
    assert await (await one.enqueue(client, 4)).wait_for_completion(SOON) == 8


async def test_other_queues_go_on(place: Place) -> None:
    client = place.client
    await place.worker(one, double, queue="odd name. >*")
    await place.worker(both)
    await client.pause_queue("default")
    await place.worker(double, triple)
    await client.pause_queue("nobody serves this")
    names = {each.name: each.paused for each in await client.queues()}
    assert names == {"default": True, "odd name. >*": False, "nobody serves this": True}
    handle = await both.enqueue(client, 1)
    await client.pause_queue("odd name. >*", until=datetime.now(UTC) + timedelta(seconds=0.3))
    await eventually(lambda: _is(client, 2))
    await client.resume_queue("default")
    assert await handle.wait_for_completion(SOON) == [2, 3]


async def test_a_pause_until_an_instant_ends_by_itself(place: Place) -> None:
    client = place.client
    await place.worker(one, double)
    await client.pause_queue("default", until=datetime.now(UTC) + timedelta(seconds=0.5))
    handle = await one.enqueue(client, 1)
    began = asyncio.get_running_loop().time()
    assert await handle.wait_for_completion(SOON) == 2
    assert asyncio.get_running_loop().time() - began > 0.3
    assert not (await client.queues())[0].paused


async def test_a_worker_that_starts_while_the_queue_is_resumed_is_not_left_paused(place: Place) -> None:
    client = place.client
    await client.pause_queue("default")

    class Racing:
        """Resumes the queue between the worker's look at the mark and what it does about it."""

        def __init__(self) -> None:
            self.raced = False

        async def __call__(self, stream: str, durable: str, until: float | None) -> None:
            if not self.raced:
                self.raced = True
                await queues.resume(client.transport, client.subjects, "default")
            await client.transport.pause_consumer(stream, durable, until)

    other = await place.connect()
    other.transport.pause_consumer = Racing()  # type: ignore[method-assign]
    await place.worker(one, double, client=other)
    assert await (await one.enqueue(client, 3)).wait_for_completion(SOON) == 6


async def test_bad_input(place: Place) -> None:
    with pytest.raises(InvalidName):
        await place.client.pause_queue("")
    with pytest.raises(DefinitionError):
        await place.client.pause_queue("default", until=datetime(2000, 1, 1, tzinfo=UTC))
    with pytest.raises(DefinitionError):
        await place.client.pause_queue("default", until=datetime(2200, 1, 1))
    assert await place.client.queues() == []


async def _is(client: Client, count: int) -> bool:
    return await waiting(client, "default") == count
