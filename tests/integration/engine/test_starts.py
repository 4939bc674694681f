"""On real NATS: limits of runs over several workers and clients, and debounced starts."""

import asyncio
from collections import Counter

import pytest

from aiki.sdk import Concurrency, Context, Debounce, LimitReached, RunHandle, WorkflowCancelled, event, workflow
from tests.integration.engine.place import Place, eventually

go_on = event("go_on", int)
at_work: Counter[str] = Counter()
most: Counter[str] = Counter()


@workflow(name="each", concurrency=Concurrency(1, key=lambda key: key))
async def each(ctx: Context, key: str) -> str:
    def begin() -> None:
        at_work[key] += 1
        most[key] = max(most[key], at_work[key])

    await ctx.step("begin", begin)
    await ctx.sleep(0.02)
    await ctx.step("end", lambda: at_work.subtract([key]))
    return key


@workflow(name="only", concurrency=1, on_limit="return_existing")
async def only(ctx: Context) -> int:
    return await ctx.wait_for(go_on)


@workflow(name="refusing", concurrency=1, on_limit="reject")
async def refusing(ctx: Context) -> int:
    return await ctx.wait_for(go_on)


@workflow(name="index")
async def index(ctx: Context, page: int) -> int:
    return page


async def test_no_two_runs_of_a_key_at_a_time_and_nobody_is_left_behind(place: Place) -> None:
    await asyncio.gather(*(place.worker(each) for _ in range(2)))
    handles = [await each.enqueue(place.client, "abc"[number % 3]) for number in range(60)]
    results = await asyncio.gather(*(handle.wait_for_completion(timeout=30) for handle in handles))
    assert Counter(results) == {"a": 20, "b": 20, "c": 20}
    assert dict(most) == {"a": 1, "b": 1, "c": 1}
    for key in "abc":
        line = await place.client.lines.read("each", key)
        assert line is None or line.empty


async def test_of_two_clients_starts_one_becomes_the_run(place: Place) -> None:
    other = await place.connect()
    await place.worker(only, refusing)
    handles: list[RunHandle[int]] = await asyncio.gather(*(only.enqueue(client) for client in (place.client, other) * 5))
    assert len({handle.id for handle in handles}) == 1
    first = await refusing.enqueue(place.client)
    with pytest.raises(LimitReached):
        await refusing.enqueue(other)
    await first.terminate()
    with pytest.raises(WorkflowCancelled):
        await first.wait_for_completion(timeout=20)
    await refusing.enqueue(other)
    await handles[0].send(go_on, 7)
    assert await handles[9].wait_for_completion(timeout=20) == 7


async def test_who_waits_says_so_and_moves_up(place: Place) -> None:
    @workflow(name="waiting", concurrency=1)
    async def waiting(ctx: Context) -> int:
        return await ctx.wait_for(go_on)

    await place.worker(waiting)
    first, second = [await waiting.enqueue(place.client) for _ in range(2)]

    async def one_waits() -> bool:
        return sum([bool((await handle.get_status()).waiting_on[0].startswith("a place among")) for handle in (first, second)]) == 1

    await eventually(one_waits)
    for handle, number in ((first, 1), (second, 2)):
        await handle.send(go_on, number)
    assert [await handle.wait_for_completion(timeout=20) for handle in (first, second)] == [1, 2]


async def test_debounced_calls_are_one_run(place: Place) -> None:
    await place.worker(index)
    rule = Debounce("site", period=1.0)
    handles = [await index.enqueue(place.client, page, debounce=rule) for page in range(20)]
    assert len({handle.id for handle in handles}) == 1
    assert await handles[0].wait_for_completion(timeout=20) == 19
    again = await index.enqueue(place.client, 20, debounce=Debounce("site", period=0.05))
    assert await again.wait_for_completion(timeout=20) == 20
