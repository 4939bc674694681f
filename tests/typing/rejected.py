"""What must not type-check. Both checkers must report every line marked `# E:`, with that text (in any case), and no other line."""

import msgspec

from aiki.sdk import (
    Actor,
    ActorContext,
    Client,
    Concurrency,
    Context,
    TaskContext,
    Worker,
    actor,
    event,
    graph,
    handler,
    inputs,
    node,
    task,
    workflow,
)
from aiki.testing import TestEnvironment


class Payment(msgspec.Struct):
    order_id: str


class Receipt(msgspec.Struct):
    payment_id: str


class Order(msgspec.Struct):
    id: str


@task(name="charge")
async def charge(payment: Payment) -> Receipt:
    return Receipt(payment.order_id)


@task(name="ship")
def ship(order: Order, task: TaskContext) -> str:
    return order.id


@workflow(name="order", version="1.0.0")
async def order(ctx: Context, order: Order) -> Receipt:
    return await charge.run(ctx, Payment(order.id))


@actor(name="cart")
class Cart(Actor):
    items: list[str] = []

    @handler
    async def add(self, ctx: ActorContext, item: str) -> int:
        return len(item)


shipping = graph(name="shipping", input=Order, returns=str, nodes=[node("ship", ship, input=inputs)])
node("ship", Order)  # E: node
node("ship", ship, join="most")  # E: join
node("ship", ship, concurrency="all")  # E: concurrency
node("ship", ship, when="inputs.id")  # E: when


async def graphs(client: Client) -> None:
    handle = await shipping.enqueue(client, Payment("1"))  # E: Order
    number: int = await (await shipping.enqueue(client, Order("1"))).wait_for_completion()  # E: str


async def actors(client: Client) -> None:
    cart = Cart.ref(client, "user-1")
    await cart.ask.add(3)  # E: str
    await cart.ask.add()  # E: argument
    await cart.tell.add("book", "pen")  # E: argument
    await cart.ask.remove("book")  # E: remove
    text: str = await cart.ask.add("book")  # E: int
    Cart.ref(client, 1)  # E: str
    actor(name="cart", on_error="ignore")  # E: ignore


async def three(a: int, b: int, c: int) -> int:
    return a + b + c


async def no_context(order: Order) -> str:
    return order.id


def not_async(ctx: Context, order: Order) -> str:
    return order.id


async def definitions() -> None:
    task(name="three")(three)  # E: int
    task(name="retry", retry=3)(charge)  # E: retry
    task(name="timeout", timeout="20 s")(charge)  # E: timedelta
    task(name="deadline", deadline="20 s")(charge)  # E: timedelta
    task(name="kill", on_cancel="kill")(charge)  # E: kill
    task(name="cap", concurrency="10")(charge)  # E: concurrency
    task(name="limits", limits=[10])(charge)  # E: Rate
    task(name="priority", priority="high")(charge)  # E: priority
    Concurrency(1, key=lambda payment: None)  # E: None
    task(version="1.0.0")  # E: version
    workflow(name="no-context", version="1.0.0")(no_context)  # E: Context
    workflow(name="not-async", version="1.0.0")(not_async)  # E: str


async def inside(ctx: Context) -> None:
    await charge.run(ctx, Order("1"))  # E: Payment
    await charge.run(ctx)  # E: argument
    await charge.run(Payment("1"))  # E: argument
    await charge.run(ctx, Payment("1"), idempotency_key=1)  # E: str
    await charge.run(ctx, Payment("1"), heartbeat="5 s")  # E: timedelta
    await charge(Order("1"))  # E: Payment
    order_: Order = await charge.run(ctx, Payment("1"))  # E: Receipt
    number: int = await ship.run(ctx, Order("1"))  # E: str
    await ctx.sleep("a day")  # E: timedelta
    text: str = await ctx.step("pick", lambda: 1)  # E: int


async def sagas(ctx: Context) -> None:
    async with ctx.saga() as saga:
        await saga.run(charge, Payment("1"), undo=ship)  # E: run
        await saga.run(charge, Order("1"), undo=charge)  # E: run
        saga.add(charge)  # E: add
        saga.run(charge, Payment("1"))  # E: run
        text: str = await saga.run(charge, Payment("1"), undo=charge)  # E: Receipt


paid = event("paid", Payment)


async def talking(client: Client, ctx: Context) -> None:
    handle = await order.enqueue(client, Order("1"))
    await handle.send(paid, Receipt("1"))  # E: payload
    await handle.send("paid", Payment("1"))  # E: Event
    await client.send(handle.id, paid, 3)  # E: payload
    await client.send_many(paid, 3, workflow="order")  # E: payload
    await ctx.send("run", paid, Receipt("1"))  # E: payload
    number: int = await ctx.wait_for(paid)  # E: Payment
    await ctx.wait_for(paid, timeout="a day")  # E: timedelta
    child = await order.start(ctx, Order("1"), close="ignore")  # E: ignore
    text: str = await child  # E: Receipt
    await child.send(paid, Receipt("1"))  # E: payload
    workflow(name="events", events=["paid"])  # E: Event
    await client.cancel_many(workflow=3)  # E: str


async def tested(env: TestEnvironment) -> None:
    env.stub(charge, "no receipt")  # E: stub
    env.stub(order, Receipt("1"))  # E: Workflow
    await env.run(order, Payment("1"))  # E: run
    await env.worker(three)  # E: argument


async def outside(client: Client) -> None:
    await charge.cache.invalidate(client, Order("1"))  # E: Payment
    task(name="cached", cache=60)  # E: Cache
    await order.enqueue(client, Payment("1"))  # E: Order
    await order.enqueue(client)  # E: argument
    await order.enqueue(client, Order("1"), on_conflict="ignore")  # E: ignore
    handle = await order.enqueue(client, Order("1"))
    text: str = await handle.wait_for_completion()  # E: Receipt
    Worker(client).registry.add(three)  # E: argument
    Worker(client, queue=3)  # E: str
