"""The workflows whose histories are kept. They must go on replaying: change the engine, not these."""

import asyncio
from typing import Any

import msgspec

from aiki.client import event
from aiki.schema import content_hash
from aiki.task import Retry, TaskContext, task
from aiki.types.errors import TaskCancelled, TaskFailed
from aiki.types.messages import Cancel, CancelStep, EndSleep, Event, Mail, Pause, Reset, Unpause, Update
from aiki.workflow import Context, Variables, Workflow, workflow

__all__ = ["WORDS", "WORKFLOWS", "changed"]


class Order(msgspec.Struct):
    id: int
    lines: list[str]


@task(name="price")
async def price(line: str) -> int:
    return len(line) * 100


@task(name="charge", retry=Retry.fixed(max_attempts=3, delay=60))
async def charge(amount: int, call: TaskContext) -> str:
    if call.attempt < 2:
        raise ConnectionError("the bank does not answer")
    return f"charged {amount}"


@task(name="ship")
async def ship(order: Order) -> str:
    raise ValueError(f"no room for order {order.id}")


@task(name="note", local=True)
async def note(text: str) -> str:
    return text.upper()


@workflow(name="order")
async def order(ctx: Context, order: Order) -> dict[str, Any]:
    """Steps side by side, a key, a retry with a long delay, a failure that is caught, a local step."""
    prices = await asyncio.gather(*(price.run(ctx, line) for line in order.lines))
    receipt = await charge.run(ctx, sum(prices), idempotency_key=f"order-{order.id}")
    try:
        shipped = await ship.run(ctx, order)
    except TaskFailed as error:
        shipped = str(error)
    return {"receipt": receipt, "shipped": shipped, "note": await note.run(ctx, receipt), "again": await charge.run(
        ctx, sum(prices), idempotency_key=f"order-{order.id}"
    )}  # fmt: skip


@workflow(name="races")
async def races(ctx: Context) -> list[Any]:
    """Timers against steps, the first of several, a queue between tasks, chance and time."""
    seen: list[Any] = []
    tasks = {asyncio.create_task(price.run(ctx, "x" * number), name=str(number)) for number in range(1, 6)}
    while tasks:
        done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        seen.append([one.get_name() for one in done])
    for limit in (0.5, 5.0):
        try:
            async with asyncio.timeout(limit):
                seen.append(await price.run(ctx, f"within {limit}"))
        except TimeoutError:
            seen.append("late")
    queue: asyncio.Queue[str] = asyncio.Queue(1)

    async def produce(name: str) -> None:
        for number in range(3):
            await queue.put(await note.run(ctx, f"{name}{number}"))
            await asyncio.sleep(number)

    async with asyncio.TaskGroup() as group:
        for name in "ab":
            group.create_task(produce(name))
        seen.append([await queue.get() for _ in range(6)])
    return [*seen, ctx.random(), ctx.uuid(), ctx.now()]


@workflow(name="again", retry=Retry.fixed(max_attempts=3, delay=10))
async def again(ctx: Context) -> int:
    """The workflow itself fails once: completed steps are kept."""
    prices = [await price.run(ctx, "a"), await price.run(ctx, "a")]
    await ctx.sleep(3600)
    if ctx.attempt == 1:
        await ship.run(ctx, Order(1, []))
    return sum(prices) * ctx.attempt


noted = event("noted", int)


@workflow(name="leaf")
async def leaf(ctx: Context, number: int) -> int:
    return number


@workflow(name="talk", retry=Retry.fixed(max_attempts=2, delay=10))
async def talk(ctx: Context) -> list[Any]:
    """Every kind of message: see `WORDS`."""
    log: list[Any] = []
    booked: list[int] = []
    log.append(await leaf.run(ctx, await ctx.wait_for(noted)))
    log.append(await ctx.sleep(3600))
    try:
        log.append(await price.run(ctx, "withdrawn"))
    except TaskCancelled:
        log.append("withdrawn")
    await asyncio.sleep(1)
    if ctx.attempt == 1:
        raise ValueError("again")
    log.append(ctx.patched("2026-11"))
    try:
        await ctx.wait_for(noted)
    except asyncio.CancelledError:
        async with ctx.shielded():
            log.append(await note.run(ctx, "clean"))
    return [*log, booked]


@workflow(name="rounds")
async def rounds(ctx: Context, total: int) -> list[Any]:
    """Continues as new, and finds what has come meanwhile."""
    total += await ctx.wait_for(noted)
    same = await note.run(ctx, "same in every generation")
    if ctx.generation < 2:
        await ctx.continue_as_new(total)
    return [total, same, ctx.random()]


@workflow(name="back")
async def back(ctx: Context) -> list[Any]:
    """Is taken back to before its second step ended."""
    return [
        await note.run(ctx, "kept"),
        await ctx.sleep(3600),
        await price.run(ctx, "again"),
        await ctx.wait_for(noted),
        await ctx.sleep(60),
        ctx.random(),
    ]


@talk.update("book")
def book(state: Variables, amount: int) -> int:
    state.booked.append(amount)
    return len(state.booked)


WORDS: dict[str, list[tuple[str, Mail]]] = {
    "talk": [
        ("awaiting_event", Unpause(id="w1")),
        ("awaiting_event", Update(id="w2", name="book", payload=b"5")),
        ("awaiting_event", Pause(id="w3", after="w2", reason="lunch")),
        ("paused", Event(id="w4", name="noted", payload=b"7")),
        ("paused", Unpause(id="w5")),
        ("sleeping", EndSleep(id="w6")),
        ("awaiting_task", CancelStep(id="w7", name="price", reason="no need")),
        ("awaiting_event", Cancel(id="w8", reason="enough")),
    ],
    "back": [
        ("awaiting_event", Event(id="w1", name="noted", payload=b"1")),
        ("sleeping", Pause(id="w2")),
        ("paused", Unpause(id="w3")),
        ("sleeping", Reset(id="w4", address="price:" + content_hash(b'"again"'), ordinal=0, reason="too dear")),
    ],
    "rounds": [
        ("awaiting_event", Pause(id="w1")),
        ("paused", Event(id="w2", name="noted", payload=b"1")),
        ("paused", Event(id="w3", name="noted", payload=b"10")),
        ("paused", Unpause(id="w4")),
        ("awaiting_event", Event(id="w5", name="noted", payload=b"100")),
    ],
}
"""What is said to a run when it is next in that state."""

WORKFLOWS: dict[str, tuple[Workflow[Any, Any], bytes]] = {
    "order": (order, b'{"id":7,"lines":["tea","coffee","milk"]}'),
    "races": (races, b"null"),
    "again": (again, b"null"),
    "talk": (talk, b"null"),
    "rounds": (rounds, b"0"),
    "back": (back, b"null"),
}


@workflow(name="order")
async def changed(ctx: Context, order: Order) -> str:
    """As if `order` had been changed without a new version."""
    return await charge.run(ctx, len(order.lines))
