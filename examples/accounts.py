"""Actors and a workflow: accounts, and a transfer between two of them. Try it with `aiki dev examples.accounts`."""

import msgspec

from aiki.sdk import Actor, ActorContext, Context, TaskFailed, actor, handler, workflow


class Overdrawn(Exception):
    """There is not so much money on the account."""


class Transfer(msgspec.Struct):
    """`amount` is in cents."""

    sender: str
    receiver: str
    amount: int


@actor(name="account")
class Account(Actor):
    """One account. Its messages come one at a time, so that nothing needs a lock."""

    balance: int = 0
    history: list[int] = []

    @handler
    async def deposit(self, ctx: ActorContext, amount: int) -> int:
        self.balance += amount
        self.history = [*self.history[-9:], amount]
        return self.balance

    @handler
    async def withdraw(self, ctx: ActorContext, amount: int) -> int:
        if amount > self.balance:
            raise Overdrawn(f"{ctx.id} has {self.balance}, not {amount}")
        return await self.deposit(-amount)

    @handler(read_only=True)
    async def read(self, ctx: ActorContext) -> int:
        return self.balance


@workflow(name="transfer")
async def transfer(ctx: Context, order: Transfer) -> bool:
    """Each call is a recorded step that counts once: whatever dies, no money is lost, and none is made."""
    try:
        await Account.ref(ctx, order.sender).ask.withdraw(order.amount)
    except TaskFailed:
        return False
    await Account.ref(ctx, order.receiver).ask.deposit(order.amount)
    return True
