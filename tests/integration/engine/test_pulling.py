"""How often a worker asks the server for work."""

import asyncio
from collections import Counter

import nats as client_library
from nats.aio.msg import Msg

from aiki.sdk import Context, task, workflow
from tests.integration.engine.place import Place

SOON = 30.0
CALLS = 2000


@task(name="busy")
async def busy(number: int) -> int:
    return number


@task(name="idle")
async def idle(number: int) -> int:
    return number


@workflow(name="crowd")
async def crowd(ctx: Context, number: int) -> int:
    return sum(await asyncio.gather(*(busy.run(ctx, each) for each in range(number))))


async def test_an_idle_worker_asks_seldom_and_a_busy_one_for_many_at_a_time(place: Place) -> None:
    subjects = place.client.subjects
    asked: Counter[str] = Counter()
    connection = await client_library.connect(place.server.url)
    try:

        async def heard(message: Msg) -> None:
            asked[message.subject.rpartition(".")[2]] += 1

        await connection.subscribe(f"$JS.API.CONSUMER.MSG.NEXT.{subjects.task_stream}.*", cb=heard)
        await connection.flush()
        await place.worker(crowd, busy, idle)
        handles = [await crowd.enqueue(place.client, 100) for _ in range(CALLS // 100)]
        for handle in handles:
            assert await handle.wait_for_completion(timeout=SOON) == 4950
        await connection.flush()
    finally:
        await connection.close()
    assert asked[subjects.task_consumer("default", "idle")] <= 2  # one request stands for 30 s
    assert 1 <= asked[subjects.task_consumer("default", "busy")] <= CALLS / 5
