"""The example `accounts`: no money is lost and none is made, though the worker dies at each of its commits."""

from aiki.testing import TestEnvironment
from examples.accounts import Account, Transfer, transfer


async def test_transfers() -> None:
    async with TestEnvironment.in_memory() as env:
        await env.worker(Account, transfer)
        await Account.ref(env.client, "alice").ask.deposit(100)
        assert await env.run(transfer, Transfer("alice", "bob", 500)) is False
        for number in range(1, 5):
            env.crash_after_commit(number, restart=True)
            assert await env.run(transfer, Transfer("alice", "bob", 10))
        balances = [await Account.ref(env.client, name).ask.read() for name in ("alice", "bob")]
        assert balances == [60, 40]
