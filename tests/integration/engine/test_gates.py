"""Limits, fairness and priorities, on NATS."""

import asyncio
import sys
import time
from collections import Counter
from pathlib import Path

import msgspec

from aiki.actors import ACK_WAIT
from aiki.sdk import Client, Concurrency, Context, Rate, Retry, TaskContext, task, workflow
from tests.integration.engine.place import Place, eventually

now: Counter[str] = Counter()
most: Counter[str] = Counter()
began: list[float] = []


class Call(msgspec.Struct):
    task: str
    key: str
    count: int


async def body(key: str, length: float) -> str:
    began.append(time.monotonic())
    for each in ("all", key):
        now[each] += 1
        most[each] = max(most[each], now[each])
    try:
        await asyncio.sleep(length)
    finally:
        for each in ("all", key):
            now[each] -= 1
    return key


@task(name="capped", concurrency=2)
async def capped(key: str) -> str:
    return await body(key, 0.05)


@task(name="keyed", limits=[Concurrency(3), Concurrency(1, key=lambda key: key)], retry=Retry.fixed(max_attempts=2, delay=1.2))
async def keyed(key: str, call: TaskContext) -> str:
    if key == "flaky" and call.attempt == 1:
        raise ValueError("not yet")
    return await body(key, 0.05)


@task(name="rated", limits=[Rate(5, per=0.5)])
async def rated(key: str) -> str:
    return await body(key, 0.0)


@task(name="fair", fair=lambda key: key)
async def fair(key: str) -> str:
    return await body(key, 0.005)


TASKS = {each.name: each for each in (capped, keyed, rated, fair)}


@workflow(name="calls")
async def calls(ctx: Context, call: Call) -> int:
    body = TASKS[call.task]
    keys = [call.key if call.key else f"k{number % 4}" for number in range(call.count)]
    return len(await asyncio.gather(*(body.run(ctx, key, idempotency_key=f"{number}") for number, key in enumerate(keys))))


async def run(place: Place, call: Call) -> int:
    now.clear()
    most.clear()
    began.clear()
    return await (await calls.enqueue(place.client, call)).wait_for_completion(timeout=30)


async def test_a_cap_is_the_servers(place: Place) -> None:
    for _ in range(2):
        await place.worker(calls, capped)
    assert await run(place, Call("capped", "a", 20)) == 20
    assert most["all"] == 2

    async def at_rest() -> bool:
        """The last call leaves the gate when its acknowledgement has arrived, for which its result does not wait."""
        return not any(view.waiting or view.at_work for view in await place.client.limits())

    await eventually(at_rest)
    (view,) = await place.client.limits()
    assert (view.task, view.rules, view.waiting, view.at_work) == ("capped", ("2 at a time",), 0, 0)


async def test_limits_by_key_and_retries_that_wait(place: Place) -> None:
    for _ in range(2):
        await place.worker(calls, keyed)
    assert await run(place, Call("keyed", "", 24)) == 24
    assert most["all"] == 3
    assert {most[f"k{number}"] for number in range(4)} == {1}
    assert await run(place, Call("keyed", "flaky", 2)) == 2
    assert most["flaky"] == 1


async def test_a_rate_is_never_exceeded(place: Place) -> None:
    await place.worker(calls, rated)
    assert await run(place, Call("rated", "a", 20)) == 20
    # Bodies begin a little after they were let in, so what is seen here is a little less exact than what the gate keeps.
    assert all(sixth - first > 0.4 for first, sixth in zip(began, began[5:], strict=False))


async def test_a_crowd_delays_nobody_else(place: Place) -> None:
    await place.worker(calls, fair, max_concurrent_tasks=4)
    crowd = [await calls.enqueue(place.client, Call("fair", "crowd", 200)) for _ in range(10)]
    room = place.client.subjects.waiting_room(place.client.subjects.gate_key("default", "fair"))

    async def queued() -> bool:
        return len(await place.client.transport.subjects(place.client.subjects.task_stream, room + ">")) > 1000

    await eventually(queued)
    start = time.monotonic()
    single = await calls.enqueue(place.client, Call("fair", "single", 1))
    assert await single.wait_for_completion(timeout=10) == 1
    assert time.monotonic() - start < 1
    assert {await handle.wait_for_completion(timeout=30) for handle in crowd} == {200}


async def test_the_keeper_leaves_and_another_takes_over(place: Place) -> None:
    first = await place.worker(calls, keyed)
    handle = await calls.enqueue(place.client, Call("keyed", "", 40))
    await eventually(lambda: _has_begun(place.client))
    await place.worker(calls, keyed)
    start = time.monotonic()
    await first.stop(0.5)
    assert await handle.wait_for_completion(timeout=30) == 40
    assert time.monotonic() - start < ACK_WAIT + 2


async def _has_begun(client: Client) -> bool:
    return any(view.at_work for view in await client.limits("keyed"))


async def test_the_command_line_shows_limits(place: Place) -> None:
    await place.worker(calls, keyed, capped)
    handle = await calls.enqueue(place.client, Call("keyed", "a", 60))
    await eventually(lambda: _has_begun(place.client))

    async def aiki(*words: str) -> tuple[int, str]:
        arguments = ("-m", "aiki.cli", *words, "--url", place.server.url, "--region", place.region)
        process = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, cwd=Path(__file__).parents[3], stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        output, errors = await process.communicate()
        return process.returncode or 0, (output + errors).decode()

    status, text = await aiki("limit", "show", "keyed", "--json")
    assert status == 0, text
    (view,) = msgspec.json.decode(text)
    assert view["rules"] == ["3 at a time", "1 at a time of each key"]
    assert [each["keys"] for each in view["keys"]] == [["a", None, "a"]]
    assert view["waiting"] + view["at_work"] > 0
    status, text = await aiki("limit", "list")
    assert (status, "2 at a time" in text, "keyed" in text) == (0, True, True), text
    status, text = await aiki("limit", "show", "none")
    assert status == 1
    assert "none" in text
    assert await handle.wait_for_completion(timeout=30) == 60
