"""Rare turns of events, one by one, on the in-memory twin and virtual time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from aiki.actors import init
from aiki.clock import VirtualClock, run_virtual
from aiki.sdk import Client, Context, IdempotencyConflict, RunNotFound, Worker, WorkflowFailed, task, workflow
from aiki.transport import MemoryServer
from aiki.types.errors import PayloadTooLarge


class World:
    """A server without faults, its clock, and one client."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.server = MemoryServer(clock)
        self.client = Client(self.server.connect("client"), clock=clock)

    async def worker(self, *definitions: Any, **options: Any) -> Worker:
        worker = Worker(Client(self.server.connect("worker"), clock=self.clock), clock=self.clock, **options)
        for definition in definitions:
            worker.registry.add(definition)
        await worker.start()
        return worker


def play(scene: Callable[[World], Awaitable[None]]) -> None:
    async def run(clock: VirtualClock) -> None:
        world = World(clock)
        await init(world.client.transport)
        await scene(world)

    run_virtual(run)


def test_a_run_that_outgrows_a_message_before_its_first_commit_fails_and_is_not_lost() -> None:
    @task(name="part", local=True)
    async def part(text: str) -> int:
        await asyncio.sleep(1)
        return len(text)

    @workflow(name="parts")
    async def parts(ctx: Context) -> int:
        return sum(await asyncio.gather(*(part.run(ctx, str(number % 10) * (60_000 + number)) for number in range(24))))

    async def scene(world: World) -> None:
        worker = await world.worker(parts)
        handle = await parts.enqueue(world.client)
        with pytest.raises(WorkflowFailed) as caught:
            await handle.wait_for_completion(timeout=60)
        assert caught.value.fields["error"].code == PayloadTooLarge.code
        await worker.stop()

    play(scene)


def versions(ran: list[str]) -> tuple[Any, Any]:
    @task(name="note", local=True)
    async def note(version: str) -> None:
        ran.append(version)

    @workflow(name="flow", version="1")
    async def first(ctx: Context, number: int) -> str:
        await note.run(ctx, "1")
        await ctx.sleep(1000)
        return "1"

    @workflow(name="flow", version="2")
    async def second(ctx: Context, number: int) -> str:
        await note.run(ctx, "2")
        return "2"

    return first, second


@pytest.mark.parametrize("later", [0.0, 1.0, 300.0])
def test_a_key_that_a_run_of_another_version_has_finds_that_run(later: float) -> None:
    ran: list[str] = []
    first, second = versions(ran)

    async def scene(world: World) -> None:
        workers = [await world.worker(first), await world.worker(second)]
        one = await first.enqueue(world.client, 5, idempotency_key="k")
        await asyncio.sleep(later)
        two = await second.enqueue(world.client, 5, idempotency_key="k")
        assert two.id == one.id
        assert await two.wait_for_completion(timeout=3600) == "1"
        assert ran == ["1"], "no other version's code has touched the run"
        with pytest.raises(IdempotencyConflict):
            await second.enqueue(world.client, 6, idempotency_key="k")
        await asyncio.gather(*(worker.stop() for worker in workers))

    play(scene)


def test_a_key_of_a_queued_run_of_another_version_is_compared() -> None:
    first, second = versions([])

    async def scene(world: World) -> None:
        one = await first.enqueue(world.client, 5, idempotency_key="k")
        with pytest.raises(IdempotencyConflict):
            await second.enqueue(world.client, 6, idempotency_key="k")
        two = await second.enqueue(world.client, 5, idempotency_key="k")
        assert two.id == one.id
        assert (await two.get_status()).state == "queued"
        assert (await two.get_status()).version == "1"

    play(scene)


def test_a_key_can_be_used_again_once_its_run_has_expired() -> None:
    """Also within the window in which the stream refuses a second start with the same message id."""
    ran: list[int] = []

    @workflow(name="quick")
    async def quick(ctx: Context, number: int) -> int:
        ran.append(number)
        return number

    async def scene(world: World) -> None:
        worker = await world.worker(quick, retention=2)
        first = await quick.enqueue(world.client, 1, idempotency_key="k")
        assert await first.wait_for_completion(timeout=60) == 1
        await asyncio.sleep(10)
        assert await world.client.load(first.id) is None
        second = await quick.enqueue(world.client, 2, idempotency_key="k")
        assert second.id == first.id
        assert await second.wait_for_completion(timeout=60) == 2
        assert ran == [1, 2]
        await worker.stop()

    play(scene)


def test_whoever_waits_for_a_run_that_has_expired_is_told() -> None:
    @workflow(name="quick")
    async def quick(ctx: Context) -> None:
        return None

    async def scene(world: World) -> None:
        worker = await world.worker(quick, retention=2)
        handle = await quick.enqueue(world.client)
        await handle.wait_for_completion(timeout=60)
        await asyncio.sleep(10)
        with pytest.raises(RunNotFound):
            await handle.wait_for_completion(timeout=600)
        await worker.stop()

    play(scene)
