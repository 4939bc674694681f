"""Ten thousand events to one run: nothing is lost, nothing comes out of order, and others are not kept waiting."""

import asyncio
import time

import pytest

from aiki.sdk import Context, event, task, workflow
from tests.integration.engine.place import Place

FLOOD = 10_000
SENDERS = 4
PATIENCE = 50.0

number = event("number", int)


@task(name="local", local=True)
async def local(value: int) -> int:
    return value


@workflow(name="drain")
async def drain(ctx: Context, count: int) -> list[int]:
    """Per sender how many came, all of them in order."""
    seen = [0] * SENDERS
    for _ in range(count):
        sender, value = divmod(await ctx.wait_for(number), FLOOD)
        assert value == seen[sender]
        seen[sender] += 1
    return seen


@workflow(name="other")
async def other(ctx: Context, value: int) -> int:
    return await local.run(ctx, value)


@pytest.mark.timeout(120)
async def test_ten_thousand_events_to_one_run(place: Place) -> None:
    await place.worker(drain, other, local)
    handle = await drain.enqueue(place.client, FLOOD)
    clients = [await place.connect() for _ in range(SENDERS)]
    flooding = True
    latencies: list[float] = []

    async def send(sender: int) -> None:
        run = drain.handle(clients[sender], handle.id)
        for value in range(FLOOD // SENDERS):
            await run.send(number, sender * FLOOD + value)

    async def measure() -> None:
        while flooding:
            began = time.perf_counter()
            assert await (await other.enqueue(place.client, len(latencies))).wait_for_completion(PATIENCE) == len(latencies)
            latencies.append(time.perf_counter() - began)

    measuring = asyncio.create_task(measure())
    began = time.perf_counter()
    await asyncio.gather(*(send(sender) for sender in range(SENDERS)))
    sent = time.perf_counter() - began
    assert await handle.wait_for_completion(PATIENCE) == [FLOOD // SENDERS] * SENDERS
    took = time.perf_counter() - began
    flooding = False
    await measuring
    latencies.sort()
    print(
        f"{FLOOD} events sent in {sent:.1f} s, taken after {took:.1f} s; another run meanwhile, {len(latencies)} times: "
        f"p50 {latencies[len(latencies) // 2] * 1e3:.1f} ms, max {latencies[-1] * 1e3:.0f} ms"
    )
    assert len(latencies) > 10
    assert latencies[len(latencies) // 2] < 1.0
    assert len((await handle.describe()).messages) == FLOOD


@pytest.mark.timeout(120)
async def test_a_flood_that_waits_for_its_worker(place: Place) -> None:
    handle = await drain.enqueue(place.client, FLOOD // 5)
    for value in range(FLOOD // 5):
        await handle.send(number, value)
    await place.worker(drain)
    await place.worker(drain)  # two hosts, one of which has the run
    began = time.perf_counter()
    assert await handle.wait_for_completion(PATIENCE) == [FLOOD // 5, 0, 0, 0]
    print(f"{FLOOD // 5} waiting events taken in {time.perf_counter() - began:.1f} s")
