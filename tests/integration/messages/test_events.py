"""Events on real NATS: who may send them, how, and what is refused."""

import asyncio
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from aiki.client.many import AT_A_TIME
from aiki.sdk import (
    Context,
    DefinitionError,
    EventTimeout,
    PayloadError,
    RunEnded,
    RunNotFound,
    TaskFailed,
    UnknownEvent,
    WorkflowFailed,
    event,
    workflow,
)
from tests.integration.engine.place import Place, eventually

SOON = 20.0


class Payment(msgspec.Struct):
    order: str
    amount: int


paid = event("paid", Payment)
signed = event("signed", str)
anything = event("anything")


@workflow(name="order", events=[paid, signed])
async def order(ctx: Context, id: str) -> list[Any]:
    who = await ctx.wait_for(signed)
    payment = await ctx.wait_for(paid)
    return [who, payment.order, payment.amount]


@workflow(name="any")
async def any_of(ctx: Context, count: int) -> list[Any]:
    seen = []
    for _ in range(count):
        got, payload = await ctx.wait_for_any(paid, signed)
        seen.append([got.name, payload if isinstance(payload, str) else payload.amount])
    return seen


@workflow(name="all")
async def all_of(ctx: Context) -> list[Any]:
    payment, who = await ctx.wait_for_all(paid, signed)
    return [payment.amount, who]


@workflow(name="impatient")
async def impatient(ctx: Context) -> str:
    try:
        return await ctx.wait_for(signed, timeout=timedelta(seconds=0.2))
    except EventTimeout as error:
        return f"{error.events} {error.timeout}"


async def test_by_handle_by_id_and_by_key(place: Place) -> None:
    await place.worker(order)
    handle = await order.enqueue(place.client, "o1", idempotency_key="o1")
    await handle.send(signed, "Ada")
    await place.client.send(handle.id, paid, Payment("o1", 3))
    assert await handle.wait_for_completion(SOON) == ["Ada", "o1", 3]
    by_key = order.handle_by_key(place.client, "o2")
    with pytest.raises(RunNotFound):
        await by_key.send(signed, "nobody")
    await order.enqueue(place.client, "o2", idempotency_key="o2")
    await by_key.send(paid, Payment("o2", 4))  # early: it waits for its turn
    await by_key.send(signed, "Bob")
    assert await by_key.wait_for_completion(SOON) == ["Bob", "o2", 4]


async def test_of_a_run_that_no_worker_has_taken_up_yet(place: Place) -> None:
    handle = await order.enqueue(place.client, "o1")
    await handle.send(signed, "Ada")
    await place.client.send(handle.id, paid, Payment("o1", 3))
    await place.worker(order)
    assert await handle.wait_for_completion(SOON) == ["Ada", "o1", 3]


async def test_any_and_all_in_order(place: Place) -> None:
    await place.worker(any_of, all_of, impatient)
    some = await any_of.enqueue(place.client, 4)
    for number, text in ((1, "a"), (2, "b")):
        await some.send(signed, text)
        await some.send(paid, Payment("x", number))
    every = await all_of.enqueue(place.client)
    await every.send(signed, "first")
    await every.send(signed, "second")
    await every.send(paid, Payment("x", 7))
    assert await some.wait_for_completion(SOON) == [["signed", "a"], ["paid", 1], ["signed", "b"], ["paid", 2]]
    assert await every.wait_for_completion(SOON) == [7, "first"]
    late = await impatient.enqueue(place.client)
    assert await late.wait_for_completion(SOON) == "['signed'] 0.2"


async def test_an_idempotency_key_counts_once_whoever_sends_it(place: Place) -> None:
    await place.worker(any_of)
    handle = await any_of.enqueue(place.client, 2)
    others = [await place.connect() for _ in range(3)]
    await asyncio.gather(*(client.send(handle.id, signed, "once", idempotency_key="k") for client in (place.client, *others)))
    await handle.send(signed, "twice", idempotency_key="k2")
    assert await handle.wait_for_completion(SOON) == [["signed", "once"], ["signed", "twice"]]
    view = await handle.describe()
    assert [(each.what, each.name, each.payload) for each in view.messages] == [("event", "signed", "once"), ("event", "signed", "twice")]


async def test_from_another_run_durably(place: Place) -> None:
    @workflow(name="sender")
    async def sender(ctx: Context, to: str) -> str:
        await ctx.send(to, signed, "from a run")
        try:
            await ctx.send("c" * 26, signed, "to nobody")
        except TaskFailed as error:
            assert error.error is not None
            return str(error.error.code)
        return ""

    await place.worker(any_of, sender)
    handle = await any_of.enqueue(place.client, 1)
    assert await (await sender.enqueue(place.client, handle.id)).wait_for_completion(SOON) == "run_not_found"
    assert await handle.wait_for_completion(SOON) == [["signed", "from a run"]]


async def test_to_many_with_a_report_per_run(place: Place) -> None:
    await place.worker(any_of, order)
    handles = [await any_of.enqueue(place.client, 1) for _ in range(2 * AT_A_TIME)]
    other = await order.enqueue(place.client, "other")
    ended = await any_of.enqueue(place.client, 0)
    await ended.wait_for_completion(SOON)
    seen: list[int] = []
    nobody = "c" * 26
    report = await place.client.send_many(
        signed, "all", [*(each.id for each in handles), ended.id, nobody], idempotency_key="x", progress=seen.append
    )
    assert {report[each.id] for each in handles} == {"sent"}
    assert isinstance(report[ended.id], RunEnded)
    assert isinstance(report[handles[0].id.__class__(nobody)], RunNotFound)
    assert seen == list(range(1, len(report) + 1))
    results = await asyncio.gather(*(each.wait_for_completion(SOON) for each in handles))
    assert results == [[["signed", "all"]]] * len(handles)
    # By a filter; those that have ended are none of them.
    assert await place.client.send_many(signed, "x", workflow="any") == {}
    assert await place.client.send_many(signed, "x", workflow="order") == {other.id: "sent"}
    (refused,) = (await place.client.send_many(anything, "x", workflow="order")).values()
    assert isinstance(refused, UnknownEvent)
    with pytest.raises(DefinitionError):
        await place.client.send_many(signed, "x")
    with pytest.raises(DefinitionError):
        await place.client.cancel_many(["x"], workflow="order")
    wrong: Any = paid  # a type checker reports this, too
    with pytest.raises(PayloadError):
        await place.client.send_many(wrong, {"amount": 1}, workflow="order")


async def test_bad_events_are_refused_before_they_are_stored(place: Place) -> None:
    await place.worker(order)
    handle = await order.enqueue(place.client, "o1")
    await eventually(lambda: _waits(place, handle.id))
    before = await place.sequences()
    bad: Any = handle
    with pytest.raises(PayloadError) as wrong:
        await bad.send(paid, {"order": "x", "amount": "three"})
    assert "Payment" in str(wrong.value)
    with pytest.raises(UnknownEvent) as unknown:
        await handle.send(anything, 1)
    assert set(unknown.value.known) == {"paid", "signed"}
    with pytest.raises(UnknownEvent):
        await place.client.send(handle.id, anything, 1)
    with pytest.raises(UnknownEvent):
        await (await place.client.handle(handle.id)).send(anything, 1)
    with pytest.raises(RunNotFound):
        await place.client.send("c" * 26, anything, 1)
    for nonsense in ("", "nope", "a.b", "x" * 26 + ">", "*"):
        with pytest.raises(RunNotFound):
            await place.client.send(nonsense, anything, 1)
    assert await place.sequences() == before
    await handle.cancel()
    await eventually(lambda: _ended(place, handle.id))
    with pytest.raises(RunEnded) as ended:
        await handle.send(signed, "late")
    assert ended.value.state == "cancelled"


async def test_a_payload_that_fits_no_more_after_a_deployment(place: Place) -> None:
    handle = await order.enqueue(place.client, "o1")
    await place.client.send(handle.id, event("signed"), {"name": "an object now"})
    await place.client.send(handle.id, signed, "too late")
    await place.worker(order)
    with pytest.raises(WorkflowFailed) as failed:
        await handle.wait_for_completion(SOON)
    assert failed.value.error is not None
    assert failed.value.error.code == "payload"
    assert "signed" in failed.value.error.message


async def _waits(place: Place, run_id: str) -> bool:
    return (await (await place.client.handle(run_id)).get_status()).state == "awaiting_event"


async def _ended(place: Place, run_id: str) -> bool:
    return (await (await place.client.handle(run_id)).get_status()).finished_at is not None
