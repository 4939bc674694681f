"""How many dispatches a worker has in hand: many of a short task, of a long one what it can begin."""

import asyncio

import pytest

from aiki.actors.slots import LONG, Slots, room_for
from aiki.sdk import Context, Worker, task, workflow
from aiki.testing import TestEnvironment


@pytest.mark.parametrize(
    ("median", "at_work", "free", "room"),
    [
        (None, 0, 10, 100),  # nothing is known yet
        (LONG / 2, 10, 0, 100),
        (LONG, 10, 0, 10),
        (LONG, 3, 7, 10),
        (LONG, 0, 0, 1),  # somebody must ask again when a slot is free
        (LONG, 90, 90, 100),
    ],
)
def test_room(median: float | None, at_work: int, free: int, room: int) -> None:
    assert room_for(median, at_work, free, 100) == room


async def test_slots_tell_how_much_is_free() -> None:
    slots = Slots(2)
    async with slots:
        async with slots:
            assert (slots.free, slots.taken) == (0, 2)
            waiting = asyncio.create_task(slots.__aenter__())
            await asyncio.sleep(0)
            assert slots.taken == 2
        await waiting
        assert slots.taken == 2
        await slots.__aexit__(None, None, None)
    assert slots.free == 2


async def test_long_tasks_are_left_to_workers_that_have_room() -> None:
    """One worker's slots are full of one task; what comes of another, that is long, goes to the worker that has slots."""

    @task(name="render")
    async def render(number: int) -> int:
        await asyncio.sleep(10)
        return number

    @task(name="encode")
    async def encode(number: int) -> int:
        await asyncio.sleep(10)
        return number

    @workflow(name="film")
    async def film(ctx: Context, numbers: list[int]) -> int:
        return sum(await asyncio.gather(*(render.run(ctx, number) for number in numbers)))

    @workflow(name="sound")
    async def sound(ctx: Context, numbers: list[int]) -> int:
        return sum(await asyncio.gather(*(encode.run(ctx, number) for number in numbers)))

    async with TestEnvironment.in_memory() as env:
        first = await env.worker(film, sound, render, encode, id="first", max_concurrent_tasks=5)
        assert await env.run(film, list(range(20))) == 190
        assert await env.run(sound, list(range(20))) == 190
        handle = await film.enqueue(env.client, [1, 2, 3, 4, 5])
        await env.advance(5)
        assert in_hand(first) == {"render": 5, "encode": 0}
        second = await env.worker(sound, encode, id="second", max_concurrent_tasks=5)
        other = await sound.enqueue(env.client, [1, 2, 3, 4, 5])
        await env.advance(1)
        assert in_hand(first)["encode"] <= 1
        assert in_hand(second)["encode"] >= 4
        await handle.wait_for_completion()
        await other.wait_for_completion()


def in_hand(worker: Worker) -> dict[str, int]:
    return {each._definition.name: len(each._running) for each in worker._tasks}
