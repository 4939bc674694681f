"""The workflow `order`: validate, charge, wait a moment, ship. Try it with `aiki dev examples.orders`."""

from datetime import timedelta

import msgspec

from aiki.sdk import Context, Retry, TaskContext, task, workflow


class Order(msgspec.Struct):
    """What a customer wants. `amount` is in cents."""

    id: str
    amount: int
    items: list[str] = []


class Receipt(msgspec.Struct):
    """What the customer gets."""

    order_id: str
    payment_id: str
    tracking: str


class InvalidOrder(Exception):
    """The order itself is wrong: no attempt will change that."""


class PaymentServiceBusy(Exception):
    """The payment service asks to come back later."""


@task(name="validate", local=True, retry=Retry.fixed(max_attempts=3, delay=1, no_retry_on=(InvalidOrder,)))
async def validate(order: Order) -> Order:
    """Refuse an order without items or with an amount below 1 cent. Runs in the process that holds the run."""
    if order.amount < 1:
        raise InvalidOrder(f"order {order.id!r}: the amount must be at least 1 cent, not {order.amount}")
    return order if order.items else msgspec.structs.replace(order, items=["a surprise"])


@task(name="charge", timeout=timedelta(seconds=20), retry=Retry.exponential(max_attempts=5, base_delay=0.2, max_delay=30))
async def charge(order: Order, call: TaskContext) -> str:
    """Charge the card; the first attempt finds the service busy. The key is the same at each attempt, so that nobody is charged twice."""
    if call.attempt == 1:
        raise PaymentServiceBusy("try again")
    return f"payment for {call.idempotency_key}"


@task(name="ship", timeout=timedelta(seconds=20), retry=Retry.fixed(max_attempts=3, delay=1))
async def ship(order: Order) -> str:
    """Hand the parcel over."""
    return f"parcel of {len(order.items)} for {order.id}"


@workflow(name="order", version="1.0.0")
async def order(ctx: Context, order: Order) -> Receipt:
    """One order from its arrival to its parcel."""
    valid = await validate.run(ctx, order)
    payment = await charge.run(ctx, valid, idempotency_key=f"charge-{order.id}")
    await ctx.sleep(timedelta(seconds=2))  # durable: costs nothing, and survives a restart of everything
    tracking = await ship.run(ctx, valid)
    return Receipt(order.id, payment, tracking)
