"""The workflow `subscription`: charge a card, ship, wait a month, remind; with two tasks that reach into the world.

And `trial`: a fortnight for nothing, which a payment ends.
"""

from datetime import timedelta

import msgspec

from aiki.sdk import Context, EventTimeout, Retry, TaskFailed, event, task, workflow


class Order(msgspec.Struct):
    """`amount` is in cents."""

    id: str
    amount: int
    email: str


class Receipt(msgspec.Struct):
    """What the payment service answers."""

    payment_id: str
    amount: int


class Summary(msgspec.Struct):
    """How it ended."""

    payment_id: str | None
    reference: str
    mails: list[str]


@task(name="charge", retry=Retry.exponential(max_attempts=4, base_delay=1, max_delay=60))
async def charge(order: Order) -> Receipt:
    """Tests never come here: the payment service is stubbed."""
    raise NotImplementedError("no payment service in an example")


@task(name="mail")
async def mail(text: str) -> str:
    """The same for the mail server."""
    raise NotImplementedError("no mail server in an example")


@task(name="label", local=True)
async def label(reference: str) -> str:
    """Pure enough to run in tests as it is."""
    return f"parcel {reference}"


@workflow(name="subscription")
async def subscription(ctx: Context, order: Order) -> Summary:
    """One order, from its payment to the reminder a month later."""
    reference = await ctx.step("reference", lambda: f"ref-{order.id}")
    try:
        receipt = await charge.run(ctx, order, idempotency_key=f"charge-{order.id}")
    except TaskFailed:
        sorry = await mail.run(ctx, f"{order.email}: payment failed")
        return Summary(None, reference, [sorry])
    sent = await mail.run(ctx, f"{order.email}: {await label.run(ctx, reference)}")
    await ctx.sleep(timedelta(days=30))
    reminder = await mail.run(ctx, f"{order.email}: order again?")
    return Summary(receipt.payment_id, reference, [sent, reminder])


paid = event("paid", Receipt)


@workflow(name="trial")
async def trial(ctx: Context, email: str) -> str:
    """What the customer was told at the end."""
    try:
        receipt = await ctx.wait_for(paid, timeout=timedelta(days=14))
    except EventTimeout:
        return await mail.run(ctx, f"{email}: the trial is over")
    return await mail.run(ctx, f"{email}: thank you for {receipt.amount}")
