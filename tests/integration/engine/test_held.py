"""On real NATS: what is retried goes on where it stood, and a retired version is refused by every client."""

import asyncio

import pytest

from aiki.actors.evidence import Evidence, Poisoned
from aiki.clock import SystemClock
from aiki.sdk import Context, VersionRetired, event, workflow
from tests.integration.engine.place import Place, eventually

go_on = event("go_on", int)


@workflow(name="order", version="1")
async def order(ctx: Context) -> int:
    return await ctx.wait_for(go_on)


async def test_who_is_gone_is_dead_and_who_is_there_is_not(place: Place) -> None:
    subjects = place.client.subjects
    key = subjects.taken("run", 1)

    async def process(number: int) -> Evidence:
        client = await place.connect()
        host = f"{subjects.host_prefix}h{number}"
        await client.transport.subscribe(host, lambda message: message.respond(b"absent"))
        made = Evidence(client.transport, subjects, host, f"worker-{number}", SystemClock())
        await made.take(key)
        if number < 3:
            await client.close()
        return made

    for number in range(4):
        await process(number)
    judge = Evidence(place.client.transport, subjects, "judge", "judge", SystemClock())
    trial = await judge.take(key, most=4)
    trial.given_back()
    with pytest.raises(Poisoned) as caught:
        await judge.take(key, most=3)
    assert caught.value.workers == ("worker-0", "worker-1", "worker-2")


async def test_what_a_stranger_puts_into_a_mailbox_is_listed_and_keeps_nobody_waiting(place: Place) -> None:
    await place.worker(order)
    handle = await order.enqueue(place.client)
    subjects = place.client.subjects
    await asyncio.gather(*(place.client.transport.publish(f"{subjects.run_mail('order', '1')}{handle.id}", b"\xc7") for _ in range(50)))
    await handle.send(go_on, 7)
    assert await handle.wait_for_completion(timeout=20) == 7

    async def listed() -> bool:
        return len([letter async for letter in place.client.dead_letters(kind="message")]) == 50

    await eventually(listed)


async def test_a_retired_version_is_refused_by_every_client(place: Place) -> None:
    other = await place.connect()
    await place.worker(order)
    running = await order.enqueue(place.client)
    await place.client.retire_version("order", "1", "use 2")
    for client in (place.client, other):
        with pytest.raises(VersionRetired, match="use 2"):
            await order.enqueue(client)
    assert not (await other.version("order", "1")).drained
    await running.send(go_on, 1)
    assert await running.wait_for_completion(timeout=20) == 1

    async def drained() -> bool:
        return (await other.version("order", "1")).drained is True

    await eventually(drained)
