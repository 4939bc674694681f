"""What is done to a run at an instant that is to come, in virtual time and on a server."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from aiki.sdk import Context, DefinitionError, PayloadError, RunEnded, Variables, WorkflowCancelled, event, task, workflow
from aiki.testing import TestEnvironment

DAY = timedelta(days=1)


class Payment(msgspec.Struct):
    amount: int


paid = event("paid", Payment)


@workflow(name="bill")
async def bill(ctx: Context, amount: int) -> list[Any]:
    open_amount = [amount]
    began = ctx.now()
    while open_amount[0] > 0:
        payment = await ctx.wait_for(paid)
        open_amount[0] -= payment.amount
    return [open_amount[0], (ctx.now() - began).days]


@bill.update("discount")
async def discount(state: Variables, amount: int) -> int:
    state.open_amount[0] -= amount
    return int(state.open_amount[0])


@workflow(name="nap")
async def nap(ctx: Context) -> bool:
    return await ctx.sleep(timedelta(days=30))


@task(name="sign-off")
async def sign_off(name: str) -> str:
    return name


async def test_events_and_updates_come_on_their_days() -> None:
    async with TestEnvironment.in_memory() as env:
        await env.worker(bill)
        handle = await bill.enqueue(env.client, 100)
        discounted = env.after(2 * DAY).update(handle, "discount", 30)
        late = env.at(env.now() + 9 * DAY).send(handle, paid, Payment(20))
        env.after(3 * DAY).send(handle, paid, Payment(50))
        await env.advance(8 * DAY)
        assert (discounted.happened, late.happened, await discounted.wait()) == (True, False, 70)
        assert await handle.wait_for_completion() == [0, 9]


async def test_a_pause_a_wake_up_and_the_end_of_the_pause() -> None:
    async with TestEnvironment.in_memory() as env:
        await env.worker(nap)
        began = env.now()
        handle = await nap.enqueue(env.client)
        env.after(DAY).pause(handle)
        env.after(40 * DAY).resume(handle)
        await env.advance(35 * DAY)
        assert (await handle.get_status()).state == "paused"
        assert await handle.wait_for_completion() is True
        assert (env.now() - began).days == 40

        handle = await nap.enqueue(env.client)
        env.after(DAY).wake(handle)
        assert await handle.wait_for_completion() is False


@pytest.mark.parametrize("ending", ["cancel", "terminate"])
async def test_an_end(ending: str) -> None:
    async with TestEnvironment.in_memory() as env:
        await env.worker(nap)
        handle = await nap.enqueue(env.client)
        getattr(env.after(DAY), ending)(handle, "enough")
        with pytest.raises(WorkflowCancelled, match="enough"):
            await handle.wait_for_completion()


async def test_what_goes_wrong_is_heard_of() -> None:
    async with TestEnvironment.in_memory() as env:
        await env.worker(nap)
        handle = await nap.enqueue(env.client)
        with pytest.raises(PayloadError):
            env.after(DAY).send(handle, paid, Payment("much"))  # type: ignore[arg-type]
        with pytest.raises(DefinitionError, match="time zone"):
            env.at(datetime(2024, 1, 1))
        too_late = env.after(31 * DAY).wake(handle)
        env.after(300 * DAY).wake(handle)  # is still to come when the environment is left
        with pytest.raises(RunEnded):
            await too_late.wait()
    with pytest.raises(RunEnded):
        async with TestEnvironment.in_memory() as env:
            await env.worker(nap)
            handle = await nap.enqueue(env.client)
            env.after(31 * DAY).wake(handle)
            await env.advance(32 * DAY)


async def test_an_instant_that_has_passed_is_now() -> None:
    async with TestEnvironment.in_memory(begin=datetime(2030, 1, 1, tzinfo=UTC)) as env:
        await env.worker(nap)
        handle = await nap.enqueue(env.client)
        await env.advance(1)
        await env.at(datetime(2029, 1, 1, tzinfo=UTC)).wake(handle).wait()
        assert await handle.wait_for_completion() is False
        assert env.now() < datetime(2030, 1, 1, 0, 1, tzinfo=UTC)


async def test_a_crash_of_the_worker_takes_no_injection_along() -> None:
    """Also when a task's body has asked for it, which belongs to the worker."""
    async with TestEnvironment.in_memory() as env:

        @workflow(name="outer")
        async def outer(ctx: Context) -> int:
            await sign_off.run(ctx, "me")
            return (await ctx.wait_for(paid)).amount

        def later(name: str) -> str:
            env.after(2 * DAY).send(handle, paid, Payment(7))
            return name

        async def on_the_loop(name: str) -> str:
            return later(name)

        env.stub(sign_off, on_the_loop)
        await env.worker(outer)
        handle = await outer.enqueue(env.client)
        await env.advance(DAY)
        await env.crash_worker()
        await env.restart_worker()
        assert await handle.wait_for_completion() == 7


async def test_on_a_real_server() -> None:
    async with TestEnvironment.nats() as env:
        await env.worker(bill)
        handle = await bill.enqueue(env.client, 100)
        discounted = env.at(env.now() + timedelta(seconds=0.2)).update(handle, "discount", 40)
        assert await discounted.wait() == 60
        env.after(0.1).send(handle, paid, Payment(60))
        assert await handle.wait_for_completion() == [0, 0]
