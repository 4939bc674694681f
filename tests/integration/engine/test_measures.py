"""What workers measure and tell of themselves, on real NATS."""

import asyncio
from importlib.metadata import version

from aiki.sdk import Context, Retry, TaskContext, event, task, workflow
from tests.integration.engine.place import Place, eventually

SOON = 20.0
paid = event("paid", int)


@task(name="quick", timeout=600, retry=Retry.fixed(max_attempts=3, delay=0.001))
async def quick(number: int, call: TaskContext) -> int:
    if number % 10 == 0 and call.attempt == 1:
        raise ConnectionError("busy")
    return number


@workflow(name="many", events=[paid])
async def many(ctx: Context, number: int) -> int:
    local = await quick.run(ctx, -1, local=True)
    return local + sum(await asyncio.gather(*(quick.run(ctx, each) for each in range(number))))


async def test_workers_add_up_what_they_have_measured(place: Place) -> None:
    workers = [await place.worker(many, quick) for _ in range(2)]
    handles = [await many.enqueue(place.client, 10) for _ in range(20)]
    for handle in handles:
        assert await handle.wait_for_completion(timeout=SOON) == 44
    assert await place.client.advice() == []
    await asyncio.gather(*(worker.stop() for worker in workers))
    tasks, runs = await place.client.advice()
    assert [(each.name, each.kind, each.samples, each.failure_rate) for each in (tasks, runs)] == [
        ("quick", "task", 220, 0.0),
        ("many", "workflow", 20, 0.0),
    ]
    assert tasks.errors == {"ConnectionError": 20}
    assert tasks.queued_p99 is not None and 0 <= tasks.queued_p99 < SOON
    assert 0 < tasks.p50 <= tasks.p95 <= tasks.p99 <= tasks.longest < SOON
    [timeout] = [proposal for proposal in tasks.proposals if proposal.setting == "timeout"]
    assert timeout.now == 600 and isinstance(timeout.proposed, float) and timeout.proposed < 300
    assert runs.proposals == ()
    [alone] = await place.client.advice("quick")
    assert alone == tasks
    assert await place.client.advice("nothing") == []


async def test_a_worker_tells_its_load_its_version_and_its_events(place: Place) -> None:
    await place.worker(many, quick, id="one", max_concurrent_tasks=7)

    async def reported() -> bool:
        return bool(await place.client.workers())

    await eventually(reported)
    [one] = await place.client.workers()
    assert one.aiki == version("aiki")
    assert one.events == (("many", "1.0.0", ("paid",)),)
    assert one.serves == (("default", "quick"),)
    assert (one.load.turns, one.load.bodies, one.max_tasks) == (0, 0, 7)
    assert one.load.memory_mb >= 0
