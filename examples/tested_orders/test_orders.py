"""Tests of `subscription` with everything that `aiki.testing` has. The fixtures `aiki` and `aiki_nats` come from its pytest plugin."""

from datetime import timedelta

import pytest

from aiki.sdk import Context, NonDeterminismError, WorkflowCancelled, workflow
from aiki.testing import TestEnvironment, replay
from examples.tested_orders.orders import Order, Receipt, Summary, charge, label, mail, paid, subscription, trial

ORDER = Order("o1", 1200, "you@example.org")


def sent(text: str) -> str:
    return text.partition(": ")[2]


async def serve(env: TestEnvironment) -> None:
    env.stub(charge, Receipt("p1", 1200))
    env.stub(mail, sent)
    await env.worker(subscription, label)


EXPECTED = Summary("p1", "ref-o1", ["parcel ref-o1", "order again?"])


async def test_a_month_takes_no_time(aiki: TestEnvironment) -> None:
    await serve(aiki)
    began = aiki.now()
    assert await aiki.run(subscription, ORDER) == EXPECTED
    assert aiki.now() - began >= timedelta(days=30)


async def test_the_reminder_waits_for_its_day(aiki: TestEnvironment) -> None:
    await serve(aiki)
    mails = aiki.stub(mail, sent)
    handle = await subscription.enqueue(aiki.client, ORDER)
    await aiki.advance(timedelta(days=29))
    assert (await handle.get_status()).state == "sleeping"
    assert mails.payloads == ["you@example.org: parcel ref-o1"]
    assert await handle.wait_for_completion() == EXPECTED


async def test_a_payment_service_that_is_down_for_a_while(aiki: TestEnvironment) -> None:
    payments = aiki.stub(charge, ConnectionError("down"), TimeoutError("slow"), lambda order: Receipt("p3", order.amount))
    aiki.stub(mail, sent)
    await aiki.worker(subscription, label)
    assert (await aiki.run(subscription, ORDER)).payment_id == "p3"
    assert [call.attempt for call in payments.calls] == [1, 2, 3]
    assert {call.idempotency_key for call in payments.calls} == {"charge-o1"}


async def test_a_payment_that_fails_for_good(aiki: TestEnvironment) -> None:
    aiki.stub(charge, ConnectionError("down"))
    aiki.stub(mail, sent)
    await aiki.worker(subscription, label)
    assert await aiki.run(subscription, ORDER) == Summary(None, "ref-o1", ["payment failed"])


@pytest.mark.parametrize("number", range(1, 6))
async def test_a_crash_after_each_commit_repeats_nothing(aiki: TestEnvironment, number: int) -> None:
    await serve(aiki)
    crash = aiki.crash_after_commit(number, restart=True)
    assert await aiki.run(subscription, ORDER) == EXPECTED
    assert crash.happened
    assert (aiki.body_runs("reference"), aiki.body_runs(charge), aiki.body_runs(label), aiki.body_runs(mail)) == (1, 1, 1, 2)


async def test_a_crash_during_the_month(aiki: TestEnvironment) -> None:
    await serve(aiki)
    handle = await subscription.enqueue(aiki.client, ORDER)
    await aiki.advance(timedelta(days=3))
    await aiki.crash_worker()
    await aiki.advance(timedelta(days=60))
    await aiki.restart_worker()
    assert await handle.wait_for_completion() == EXPECTED
    assert aiki.body_runs(charge) == 1


@pytest.mark.aiki(always_replay=True)
async def test_the_code_is_deterministic(aiki: TestEnvironment) -> None:
    await serve(aiki)
    assert await aiki.run(subscription, ORDER) == EXPECTED


async def test_recorded_runs_still_fit(aiki: TestEnvironment) -> None:
    await serve(aiki)
    handle = await subscription.enqueue(aiki.client, ORDER)
    await handle.wait_for_completion()
    history = (await handle.history()).to_json()  # in a project of yours: files of `aiki run history ID --export FILE`
    assert replay(subscription, history).output == EXPECTED

    @workflow(name="subscription")
    async def changed(ctx: Context, order: Order) -> Summary:
        return Summary(None, await label.run(ctx, order.id), [])

    with pytest.raises(NonDeterminismError, match="label"):
        replay(changed, history)


@pytest.mark.parametrize(("day", "told"), [(13, "thank you for 900"), (15, "the trial is over")])
async def test_a_payment_that_comes_in_time_or_too_late(aiki: TestEnvironment, day: int, told: str) -> None:
    aiki.stub(mail, sent)
    await aiki.worker(trial)
    handle = await trial.enqueue(aiki.client, "you@example.org")
    aiki.after(timedelta(days=day)).send(handle, paid, Receipt("p1", 900))
    assert await handle.wait_for_completion() == told


async def test_a_trial_is_cancelled_while_no_worker_is_there(aiki: TestEnvironment) -> None:
    aiki.stub(mail, sent)
    await aiki.worker(trial)
    handle = await trial.enqueue(aiki.client, "you@example.org")
    aiki.after(timedelta(days=1)).do(aiki.crash_worker)
    aiki.after(timedelta(days=2)).cancel(handle, "changed my mind")
    aiki.after(timedelta(days=3)).do(aiki.restart_worker)
    with pytest.raises(WorkflowCancelled, match="changed my mind"):
        await handle.wait_for_completion()


async def test_on_a_real_server(aiki_nats: TestEnvironment) -> None:
    aiki_nats.stub(charge, ValueError("declined"))
    aiki_nats.stub(mail, sent)
    await aiki_nats.worker(subscription, label)
    crash = aiki_nats.crash_after_commit(1, restart=True)
    handle = await subscription.enqueue(aiki_nats.client, ORDER)
    await crash.wait()
    assert (await handle.get_status()).state in ("running", "awaiting_task", "awaiting_retry")
    assert aiki_nats.body_runs("reference") == 1
