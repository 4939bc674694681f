"""Results that runs share, on real NATS."""

from aiki.sdk import Cache, Context, task, workflow
from tests.integration.engine.place import Place, eventually

SOON = 20.0
bodies: list[int] = []


@task(name="fetch", cache=Cache(ttl=60))
async def fetch(number: int) -> int:
    bodies.append(number)
    return 10 * number


@task(name="brief", local=True, cache=Cache(ttl=1, key=lambda number: number % 10))
async def brief(number: int) -> int:
    bodies.append(number)
    return 10 * number


@workflow(name="reads")
async def reads(ctx: Context, numbers: list[int]) -> list[int]:
    return [await fetch.run(ctx, number) for number in numbers]


@workflow(name="briefly")
async def briefly(ctx: Context, number: int) -> int:
    return await brief.run(ctx, number)


async def stored(place: Place, number: int) -> None:
    async def are() -> bool:
        return len(await place.client.cached()) == number

    await eventually(are)


async def test_hits_cost_what_the_journal_costs(place: Place) -> None:
    bodies.clear()
    await place.worker(reads, fetch)
    await (await reads.enqueue(place.client, [1, 2, 3])).wait_for_completion(timeout=SOON)
    await stored(place, 3)
    await place.worker(reads, fetch)  # two workers: half of the runs go to each
    before = await place.sequences()
    handles = [await reads.enqueue(place.client, [1, 2, 3]) for _ in range(20)]
    assert [await handle.wait_for_completion(timeout=SOON) for handle in handles] == [[10, 20, 30]] * 20
    after = await place.sequences()
    subjects = place.client.subjects
    written = {stream: after[stream] - before[stream] for stream in after}
    assert written == {subjects.runs_stream: 20 * 3, subjects.mail_stream: 20, subjects.task_stream: 0}
    assert bodies == [1, 2, 3]


async def test_invalidation_reaches_the_workers_at_once(place: Place) -> None:
    bodies.clear()
    for _ in range(2):
        await place.worker(reads, fetch)
    for round in range(1, 4):
        handles = [await reads.enqueue(place.client, [7]) for _ in range(6)]
        assert [await handle.wait_for_completion(timeout=SOON) for handle in handles] == [[70]] * 6
        await stored(place, 1)
        known = len(bodies)
        assert await (await reads.enqueue(place.client, [7])).wait_for_completion(timeout=SOON) == [70]
        assert len(bodies) == known
        if round == 1:
            await fetch.cache.invalidate(place.client, 7)
        else:
            assert await fetch.cache.clear(place.client) == 1
        assert await place.client.cached("fetch") == []
        # The announcement goes to the workers by the same server before the start that follows it.
        assert await (await reads.enqueue(place.client, [7])).wait_for_completion(timeout=SOON) == [70]
        assert len(bodies) == known + 1


async def test_the_server_drops_what_is_too_old(place: Place) -> None:
    bodies.clear()
    await place.worker(briefly, brief)
    assert await (await briefly.enqueue(place.client, 3)).wait_for_completion(timeout=SOON) == 30
    assert await (await briefly.enqueue(place.client, 13)).wait_for_completion(timeout=SOON) == 30
    await stored(place, 0)
    assert await (await briefly.enqueue(place.client, 13)).wait_for_completion(timeout=SOON) == 130
    transport, subjects = place.client.transport, place.client.subjects
    keys = f"{subjects.cache_prefix}>"

    async def dropped() -> bool:
        return await transport.subjects(subjects.cache_stream, keys) == []

    await eventually(dropped)
