"""What must type-check, and to what: this file is checked by mypy and pyright, and never run."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypedDict, assert_type
from uuid import uuid4

import msgspec
from pydantic import BaseModel

from aiki.sdk import (
    Actor,
    ActorContext,
    ActorRef,
    AikiError,
    Cache,
    CachedView,
    ChildHandle,
    Client,
    Concurrency,
    Context,
    Graph,
    HookInfo,
    QueueView,
    Rate,
    Retry,
    RunId,
    Schedule,
    ScheduleHandle,
    TaskContext,
    Variables,
    Webhook,
    Worker,
    actor,
    event,
    graph,
    handler,
    inputs,
    item,
    node,
    ref,
    task,
    workflow,
)
from aiki.testing import Replayed, TestEnvironment, replay


class Payment(msgspec.Struct):
    order_id: str
    amount: int


class Receipt(msgspec.Struct):
    payment_id: str


class Order(BaseModel):
    id: str
    amount: int


@dataclass
class Parcel:
    weight: float


class Label(TypedDict):
    text: str


@task(
    name="charge",
    retry=Retry.exponential(max_attempts=5, base_delay=timedelta(seconds=1), max_delay=timedelta(seconds=30)),
    timeout=timedelta(seconds=20),
)
async def charge(payment: Payment) -> Receipt:
    return Receipt(payment.order_id)


@task(name="ship", heartbeat=timedelta(seconds=5), deadline=timedelta(hours=1), start_timeout=60, on_cancel="raise")
async def ship(order: Order, task: TaskContext) -> str:
    task.heartbeat({"done": 3})
    task.heartbeat()
    assert_type(task.cancelled, bool)
    assert_type(task.run_id, RunId)
    return f"{order.id} {task.attempt} {task.last_heartbeat}"


@task(name="weigh", retry=Retry.fixed(max_attempts=3, delay=1, max_elapsed=timedelta(days=1)))
def weigh(parcel: Parcel) -> float:
    return parcel.weight


@task(
    name="label",
    limits=[Concurrency(1, key=lambda parcel: int(parcel.weight)), Rate(10, per=timedelta(seconds=1))],
    fair=lambda parcel: "all",
    priority=3,
)
async def label(parcel: Parcel) -> Label:
    return {"text": str(parcel.weight)}


@task(name="forget")
async def forget(order_id: str) -> None: ...


@workflow(name="invoice", version="1.0.0")
async def invoice(ctx: Context, order: Order) -> int:
    return order.amount


@workflow(name="order", version="1.0.0", retry=Retry.fixed(max_attempts=3, delay=timedelta(seconds=5)))
async def order(ctx: Context, order: Order) -> Receipt:
    receipt = await charge.run(ctx, Payment(order.id, order.amount), idempotency_key=order.id)
    assert_type(receipt, Receipt)
    assert_type(await ship.run(ctx, order), str)
    assert_type(await ship.run(ctx, order, deadline=timedelta(minutes=5), start_timeout=30, heartbeat=2.5), str)
    assert_type(await weigh.run(ctx, Parcel(1.5)), float)
    assert_type(await label.run(ctx, Parcel(1.5)), Label)
    await forget.run(ctx, order.id)

    weight, text = await asyncio.gather(weigh.run(ctx, Parcel(1.5), local=True), ship.run(ctx, order))
    assert_type(weight, float)
    assert_type(text, str)

    assert_type(await ctx.step("plain", lambda: str(uuid4())), str)
    assert_type(await ctx.step("async", count), int)
    assert_type(await ctx.step("bounded", count, timeout=1, deadline=timedelta(seconds=5)), int)
    await ctx.sleep(timedelta(days=1))
    assert_type(ctx.run_id, RunId)
    assert_type(ctx.attempt, int)
    hook = await ctx.webhook("approval", Receipt, expires=timedelta(days=7))
    assert_type(hook, Webhook[Receipt])
    assert_type(hook.url, str)
    assert_type(await hook.wait(timeout=timedelta(hours=1)), Receipt)
    return receipt


@task(name="refund")
async def refund(receipt: Receipt) -> None: ...


@task(name="void")
def void(payment: Payment) -> None: ...


@workflow(name="restock")
async def restock(ctx: Context, order: Order) -> None: ...


async def sagas(ctx: Context, order: Order, payment: Payment) -> None:
    async with ctx.saga() as saga:
        assert_type(await saga.run(charge, payment, undo=refund), Receipt)
        assert_type(await saga.run(charge, payment, undo=void, undo_on_failure=True), Receipt)
        assert_type(await saga.run(charge, payment, undo=lambda receipt: refund.run(ctx, receipt), idempotency_key="k"), Receipt)
        assert_type(await saga.run(invoice, order, undo=restock, timeout=timedelta(hours=1)), int)
        saga.add(lambda: forget.run(ctx, "1"))
        await saga.compensate()


@actor(name="cart", ttl=timedelta(days=1), on_error="hold")
class Cart(Actor):
    items: list[str] = []

    @handler
    async def add(self, ctx: ActorContext, item: str) -> int:
        self.items.append(item)
        assert_type(await Cart.ref(ctx, "other").ask.size(), int)
        assert_type(await self.size(), int)
        ctx.remind(Cart.clear, after=timedelta(hours=1))
        return len(self.items)

    @handler(read_only=True)
    async def size(self, ctx: ActorContext) -> int:
        return len(self.items)

    @handler
    async def clear(self, ctx: ActorContext) -> None:
        self.items.clear()


shipping = graph(
    name="shipping",
    input=Order,
    returns=str,
    nodes=[
        node("weights", weigh, each=[{"weight": 1.5}], concurrency=2, timeout=timedelta(seconds=5)),
        node("charge", charge, input={"order_id": inputs.id, "amount": inputs.amount}, when=(inputs.amount > 0) & ~inputs.id.is_in(["x"])),
        node("label", label, each=ref("weights"), input={"weight": item}, after=["charge"], retry=Retry.never()),
        node("ship", ship, input=inputs, after=["charge", "label"], join="any", cancel_rest=True, heartbeat=5),
        node("invoice", invoice, input=inputs, deadline=60),
    ],
    output=ref("ship").otherwise("nothing"),
)
assert_type(shipping, Graph[Order, str])
assert_type(shipping.render("mermaid"), str)
half_typed = graph(name="half", input=Order, nodes=[node("invoice", invoice, input=inputs)])


async def graphs(client: Client, ctx: Context) -> None:
    handle = await shipping.enqueue(client, Order(id="1", amount=1))
    assert_type(await handle.wait_for_completion(), str)
    assert_type(await shipping.run(ctx, Order(id="1", amount=1)), str)
    await half_typed.enqueue(client, Order(id="1", amount=1))
    Worker(client).registry.add(shipping)


async def actors(client: Client, ctx: Context) -> None:
    cart = Cart.ref(client, "user-1", timeout=timedelta(seconds=5), key="k")
    assert_type(cart, ActorRef[Cart])
    assert_type(await cart.ask.add("book"), int)
    assert_type(await cart.ask.add(item="book"), int)
    await cart.tell.add("pen")
    assert_type(await Cart.ref(ctx, "user-1").ask.size(), int)
    assert_type((await cart.describe()).id, str)
    Worker(client).registry.add(Cart).add(order)


paid = event("paid", Payment)
anything = event("anything")


@workflow(name="talk", version="1.0.0", events=[paid, anything])
async def talk(ctx: Context, id: str) -> int:
    assert_type(await ctx.wait_for(paid), Payment)
    assert_type(await ctx.wait_for(paid, timeout=timedelta(days=14)), Payment)
    assert_type(await ctx.wait_for(anything), Any)
    which, _ = await ctx.wait_for_any(paid, anything, timeout=5)
    assert_type(which.name, str)
    await ctx.wait_for_all(paid, anything)
    child: ChildHandle[int] = await invoice.start(ctx, Order(id="1", amount=1), idempotency_key="i", close="abandon")
    await child.send(paid, Payment("1", 1))
    await child.cancel("why")
    assert_type(await invoice.run(ctx, Order(id="1", amount=1)), int)
    await ctx.send("run", paid, Payment("1", 1))
    async with ctx.shielded():
        await ctx.publish({"done": 1})
    return await child


@talk.on_start
@talk.on_cancel
async def hook(ctx: Context, info: HookInfo) -> None:
    assert_type(info.reason, str | None)


@talk.query("id")
def query_id(state: Variables) -> str:
    return str(state.id)


@talk.update("rename")
async def rename(state: Variables, name: str) -> str:
    return name


async def talking(client: Client) -> None:
    handle = await talk.enqueue(client, "1")
    await handle.send(paid, Payment("1", 1), idempotency_key="evt-1")
    await handle.send(anything, {"a": 1})
    await client.send(handle.id, paid, Payment("1", 1))
    report = await client.send_many(paid, Payment("1", 1), workflow="talk", state="awaiting_event", progress=print)
    for run_id, outcome in report.items():
        assert_type(run_id, RunId)
        if isinstance(outcome, AikiError):
            print(outcome.code)
    await client.cancel_many([handle.id], reason="why")
    await client.resume_many(workflow="talk")
    assert_type(await talk.handle_by_key(client, "key").wait_for_completion(), int)
    view = await handle.describe(tree=True)
    assert_type(view.children[0].children[0].id, RunId)
    assert_type(view.waits[0].wakes, str)
    assert_type(view.messages[0].payload, Any)
    assert_type(await client.queues(), list[QueueView])
    await handle.pause("why")
    await handle.resume()
    await handle.cancel("why")
    await handle.terminate()
    await handle.cancel_task("charge")


async def count() -> int:
    return 1


async def tested() -> None:
    async with TestEnvironment.in_memory(always_replay=True) as env:
        stub = env.stub(charge, Receipt("1"), ValueError, ValueError("no"), lambda payment: Receipt("2"))
        assert_type(stub.payloads, list[Payment])
        env.stub(forget, None)
        env.stub(weigh, weigh, 1.5)
        await env.worker(order, invoice, ship, queue="default")
        assert_type(await env.run(order, Order(id="1", amount=1)), Receipt)
        assert_type(env.body_runs(charge) + env.body_runs("plain"), int)
        history = await order.handle(env.client, "1").history()
        assert_type(replay(order, history), Replayed[Receipt])


async def direct() -> None:
    """A decorated function still is the function."""
    assert_type(await charge(Payment("1", 1)), Receipt)
    assert_type(weigh(Parcel(1.5)), float)


async def outside() -> None:
    async with await Client.connect("nats://127.0.0.1:4222", region="eu") as client:
        handle = await order.enqueue(client, Order(id="1", amount=1), idempotency_key="order-1", on_conflict="return_existing")
        assert_type(handle.id, RunId)
        assert_type(await handle.wait_for_completion(timeout=timedelta(seconds=5)), Receipt)
        assert_type(await handle.wait_for_completion(), Receipt)
        status = await handle.get_status()
        assert_type(status.id, RunId)
        assert_type(await order.handle(client, handle.id).wait_for_completion(), Receipt)

        await charge.cache.invalidate(client, Payment("1", 1))
        await charge.cache.invalidate_key(client, 7, cache=Cache(ttl=timedelta(hours=1), key=len, version="2"))
        assert_type(await charge.cache.clear(client), int)
        assert_type(await client.cached("charge"), list[CachedView])

        other = await invoice.enqueue(client, Order(id="1", amount=1))
        assert_type(await other.wait_for_completion(), int)

        weekly = Schedule.cron("0 9 * * 1", timezone="America/New_York", overlap="skip", catch_up=timedelta(hours=1), jitter=timedelta(0))
        assert_type(await order.schedule(client, weekly, Order(id="1", amount=1), id="weekly"), ScheduleHandle)
        schedule = await invoice.schedule(client, Schedule.every(timedelta(minutes=15)), Order(id="1", amount=1), id="often")
        assert_type(await schedule.update(payload=Order(id="2", amount=1), revision=1), int)
        assert_type((await schedule.trigger()).id, RunId)

        worker = Worker(client, id="worker-1", queue="default", max_concurrent_workflow_runs=100, max_concurrent_tasks=100)
        worker.registry.add(order).add(invoice).add(charge).add(weigh)
        async with worker:
            await worker.stop(grace=timedelta(seconds=10))
