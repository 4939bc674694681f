"""The environment itself: virtual time on anybody's loop, stubs, crashes, replays."""

import asyncio
import random
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from aiki.sdk import (
    Context,
    DefinitionError,
    NonDeterminismError,
    PayloadError,
    Retry,
    TaskContext,
    WorkflowFailed,
    task,
    workflow,
)
from aiki.testing import NothingWillHappen, TestEnvironment


class Payment(msgspec.Struct):
    order_id: str
    amount: int


class Receipt(msgspec.Struct):
    payment_id: str


@task(name="charge", retry=Retry.fixed(max_attempts=3, delay=1))
async def charge(payment: Payment, call: TaskContext) -> Receipt:
    return Receipt(f"real {payment.order_id}")


@task(name="pack", local=True)
async def pack(order: str) -> str:
    return f"packed {order}"


@workflow(name="order")
async def order(ctx: Context, payment: Payment) -> list[str]:
    receipt = await charge.run(ctx, payment)
    picked = await ctx.step("pick", lambda: "picked")
    await ctx.sleep(timedelta(days=30))
    return [receipt.payment_id, picked, await pack.run(ctx, payment.order_id)]


RESULT = ["real o1", "picked", "packed o1"]
PAYMENT = Payment("o1", 100)


async def test_thirty_days_take_no_time() -> None:
    real = time.monotonic()
    async with TestEnvironment.in_memory() as env:
        began = env.now()
        await env.worker(order, charge, pack)
        assert await env.run(order, PAYMENT) == RESULT
        assert env.now() - began >= timedelta(days=30)
    assert time.monotonic() - real < 3
    assert (env.body_runs(charge), env.body_runs(pack), env.body_runs("pick")) == (1, 1, 1)


async def test_a_century_takes_no_time() -> None:
    @workflow(name="century")
    async def century(ctx: Context) -> int:
        for _ in range(99):
            await ctx.sleep(timedelta(days=365.25))
        return ctx.now().year

    async with TestEnvironment.in_memory() as env:
        await env.worker(century)
        assert await env.run(century) == 2123
        await env.advance(0.001)


async def test_the_loop_is_given_back() -> None:
    loop = asyncio.get_running_loop()
    before = loop.time()
    async with TestEnvironment.in_memory() as env:
        timer = loop.call_later(1e6, print)
        await env.advance(timedelta(days=3))
        assert loop.time() - before >= 3 * 86_400
        assert loop.get_task_factory() is not None
    assert 0 <= loop.time() - before < 30
    assert 0 < timer.when() - loop.time() < 1e6
    assert loop.get_task_factory() is None
    timer.cancel()


def test_under_asyncio_run_and_begin() -> None:
    async def main() -> datetime:
        async with TestEnvironment.in_memory(begin=datetime(2030, 5, 6, tzinfo=UTC)) as env:
            await env.advance(60)
            return env.now()

    assert abs(asyncio.run(main()) - datetime(2030, 5, 6, 0, 1, tzinfo=UTC)) < timedelta(seconds=1)


async def test_two_environments_at_a_time_do_not_meet() -> None:
    async with TestEnvironment.in_memory() as one, TestEnvironment.in_memory() as two:
        one.stub(charge, Receipt("one"))
        await one.worker(order, pack)
        await two.worker(order, charge, pack)
        first, second = await asyncio.gather(one.run(order, PAYMENT), two.run(order, PAYMENT))
    assert (first[0], second[0]) == ("one", "real o1")


async def test_a_thread_is_waited_for_with_the_clock_standing_still() -> None:
    async with TestEnvironment.in_memory() as env:
        began = env.now()
        assert await asyncio.to_thread(threading.Event().wait, 0.05) is False
        assert env.now() - began < timedelta(seconds=1)


async def test_time_is_seen_in_order() -> None:
    async with TestEnvironment.in_memory() as env:
        await env.worker(order, charge, pack)
        handle = await order.enqueue(env.client, PAYMENT)
        await env.advance(timedelta(days=29))
        assert (await handle.get_status()).state == "sleeping"
        await env.advance(timedelta(days=2))
        assert (await handle.get_status()).state == "completed"


def test_a_test_that_waits_for_ever_is_told_what_waits() -> None:
    async def main() -> None:
        async with TestEnvironment.in_memory() as env:
            await env.worker(order, pack)  # not charge
            await env.run(order, PAYMENT)

    with pytest.raises(NothingWillHappen, match=r"workflow 'order': awaiting_task of charge"):
        asyncio.run(main())


# -- stubs


async def test_a_result_and_its_calls() -> None:
    async with TestEnvironment.in_memory() as env:
        stub = env.stub(charge, Receipt("stubbed"))
        await env.worker(order, pack)
        assert (await env.run(order, PAYMENT))[0] == "stubbed"
        assert stub.payloads == [PAYMENT]
        assert (stub.calls[0].attempt, env.body_runs(charge)) == (1, 1)


async def test_outcomes_one_after_another() -> None:
    async with TestEnvironment.in_memory() as env:
        stub = env.stub(charge, ConnectionError("down"), TimeoutError, lambda payment: Receipt(f"third {payment.amount}"))
        await env.worker(order, pack)
        assert (await env.run(order, PAYMENT))[0] == "third 100"
        assert [call.attempt for call in stub.calls] == [1, 2, 3]


async def test_functions_and_local_tasks() -> None:
    async def slow(payment: Payment, call: TaskContext) -> Receipt:
        await asyncio.sleep(3600)
        return Receipt(call.task)

    async with TestEnvironment.in_memory() as env:
        env.stub(charge, slow)
        packed = env.stub(pack, "stub")
        await env.worker(order)
        await env.advance(timedelta(days=1))  # a worker that has rested keeps its messages alive again, once there are some
        assert await env.run(order, PAYMENT) == ["charge", "picked", "stub"]
        assert packed.payloads == ["o1"]
        assert env.body_runs(charge) == 1


async def test_a_stub_that_fails_for_good() -> None:
    async with TestEnvironment.in_memory() as env:
        stub = env.stub(charge, ValueError("declined"))
        await env.worker(order, pack)
        with pytest.raises(WorkflowFailed, match="declined"):
            await env.run(order, PAYMENT)
        assert len(stub.calls) == 3


async def test_a_stub_of_the_wrong_type() -> None:
    async with TestEnvironment.in_memory() as env:
        with pytest.raises(PayloadError, match="stub of task 'charge'"):
            env.stub(charge, "no receipt")  # type: ignore[arg-type]
        env.stub(charge, lambda: "no receipt")  # type: ignore[arg-type,return-value]
        await env.worker(order, pack)
        with pytest.raises(WorkflowFailed, match="stub of task 'charge'"):
            await env.run(order, PAYMENT)


async def test_bad_use() -> None:
    with pytest.raises(DefinitionError, match="enter"):
        _ = TestEnvironment.in_memory().client
    with pytest.raises(DefinitionError, match="time zone"):
        TestEnvironment.in_memory(begin=datetime(2024, 1, 1))
    async with TestEnvironment.in_memory() as env:
        with pytest.raises(DefinitionError, match="needs an outcome"):
            env.stub(charge)
        with pytest.raises(DefinitionError, match="alive"):
            await env.crash_worker()
        with pytest.raises(DefinitionError, match="no worker yet"):
            await env.restart_worker()
        await env.worker(order, pack)
        with pytest.raises(DefinitionError, match="no worker serves task 'charge'"):
            env.stub(charge, Receipt("late"))
        with pytest.raises(DefinitionError, match="counted from 1"):
            env.crash_before_commit(0)
        with pytest.raises(DefinitionError, match="once"):
            await env.__aenter__()


# -- crashes


async def test_a_crash_in_the_sleep() -> None:
    async with TestEnvironment.in_memory() as env:
        await env.worker(order, charge, pack)
        handle = await order.enqueue(env.client, PAYMENT)
        await env.advance(timedelta(days=10))
        await env.crash_worker()
        await env.advance(timedelta(days=40))
        status = await handle.get_status()
        assert status.state == "stalled", "its alarm has come, and there is no worker"
        assert "nobody serves it" in status.waiting_on[0]
        await env.restart_worker()
        assert await handle.wait_for_completion() == RESULT
        assert (env.body_runs(charge), env.body_runs(pack), env.body_runs("pick")) == (1, 1, 1)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(1, 7))
async def test_a_crash_at_each_commit(when: str, number: int) -> None:
    async with TestEnvironment.in_memory() as env:
        await env.worker(order, charge, pack)
        crash = (env.crash_before_commit if when == "before" else env.crash_after_commit)(number, restart=True)
        assert await env.run(order, PAYMENT) == RESULT
        assert crash.happened == (number <= 5), number
        if when == "after":
            assert (env.body_runs(charge), env.body_runs(pack), env.body_runs("pick")) == (1, 1, 1)


async def test_what_is_not_committed_runs_again() -> None:
    async with TestEnvironment.in_memory() as env:
        await env.worker(order, charge, pack)
        crash = env.crash_before_commit(2)
        handle = await order.enqueue(env.client, PAYMENT)
        await crash.wait()
        assert env.body_runs(charge) == 1
        await env.restart_worker()
        assert await handle.wait_for_completion() == RESULT
        assert env.body_runs(charge) == 2


# -- replay


@workflow(name="astray")
async def astray(ctx: Context) -> None:
    for _ in range(20):
        await pack.run(ctx, random.choice("abcdefgh"))


async def test_always_replay_flushes_out_chance() -> None:
    async with TestEnvironment.in_memory(always_replay=True) as env:
        await env.worker(astray, pack)
        with pytest.raises(WorkflowFailed) as caught:
            await env.run(astray)
        error = caught.value.fields["error"]
        assert error.code == NonDeterminismError.code
        assert "pack" in error.message
    async with TestEnvironment.in_memory() as env:  # otherwise it goes unseen
        await env.worker(astray, pack)
        await env.run(astray)


async def test_always_replay_leaves_honest_code_alone() -> None:
    @workflow(name="honest", retry=Retry.fixed(max_attempts=2, delay=5))
    async def honest(ctx: Context) -> list[Any]:
        found: list[Any] = [await asyncio.gather(*(pack.run(ctx, name) for name in "abc"))]
        found.append(await ctx.step("chance", lambda: ctx.attempt))
        race = [asyncio.ensure_future(ctx.sleep(1)), asyncio.ensure_future(charge.run(ctx, PAYMENT, idempotency_key="k"))]
        done, _ = await asyncio.wait(race, return_when=asyncio.FIRST_COMPLETED)
        found.append(len(done))
        if ctx.attempt == 1:
            raise ValueError("again")
        return [*found, await pack.run(ctx, str(ctx.uuid())[:0])]

    async with TestEnvironment.in_memory(always_replay=True) as env:
        await env.worker(honest, pack, charge, order)
        assert await env.run(honest) == [["packed a", "packed b", "packed c"], 1, 1, "packed "]
        assert await env.run(order, PAYMENT) == RESULT
        assert env.body_runs("chance") == 1


# -- the real server


async def test_on_nats() -> None:
    @workflow(name="short")
    async def short(ctx: Context, payment: Payment) -> str:
        receipt = await charge.run(ctx, payment)
        await ctx.sleep(0.2)
        return receipt.payment_id + await pack.run(ctx, "x")

    async with TestEnvironment.nats(always_replay=True) as env:
        stub = env.stub(charge, Receipt("stubbed"))
        await env.worker(short, pack)
        crash = env.crash_after_commit(2, restart=True)
        assert await env.run(short, PAYMENT, timeout=20) == "stubbedpacked x"
        assert crash.happened
        assert (len(stub.calls), env.body_runs(charge)) == (1, 1)
        await env.crash_worker()
        await env.restart_worker()
        assert await env.run(short, PAYMENT, timeout=20) == "stubbedpacked x"
