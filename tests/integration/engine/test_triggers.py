"""Runs that begin later."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from aiki.sdk import Context, DefinitionError, IdempotencyConflict, RunEnded, RunNotFound, Trigger, workflow
from tests.integration.engine.place import Place


@workflow(name="later")
async def later(ctx: Context, value: int) -> float:
    return ctx.now().timestamp()


async def test_a_run_begins_after_its_delay_and_not_before(place: Place) -> None:
    await place.worker(later)
    called = time.time()
    handle = await later.enqueue(place.client, 1, trigger=Trigger.after(timedelta(seconds=1.5)))
    status = await handle.get_status()
    assert status.state == "scheduled"
    assert status.waiting_on[0].startswith("its beginning at ")
    assert [(run.id, run.state) async for run in place.client.runs()] == [(handle.id, "scheduled")]
    assert [run.id async for run in place.client.runs(state="scheduled")] == [handle.id]
    assert (await handle.describe()).input == 1
    assert await handle.wait_for_completion(timeout=10) >= called + 1.5
    assert (await handle.get_status()).state == "completed"


async def test_an_instant_that_is_past_means_at_once(place: Place) -> None:
    await place.worker(later)
    handle = await later.enqueue(place.client, 1, trigger=Trigger.at(datetime.now(UTC) - timedelta(days=1)))
    assert await handle.wait_for_completion(timeout=10) > 0


async def test_a_key_finds_the_run_that_waits_for_its_instant(place: Place) -> None:
    day = Trigger.after(timedelta(days=1))
    first = await later.enqueue(place.client, 1, idempotency_key="once", trigger=day)
    again = await later.enqueue(place.client, 1, idempotency_key="once", trigger=Trigger.after(60))
    at_once = await later.enqueue(place.client, 1, idempotency_key="once")
    assert first.id == again.id == at_once.id
    due = (await first.get_status()).waiting_on[0]
    assert due == (await again.get_status()).waiting_on[0], "a second call must not move the first"
    with pytest.raises(IdempotencyConflict):
        await later.enqueue(place.client, 2, idempotency_key="once", trigger=day)
    assert (await later.enqueue(place.client, 2, idempotency_key="once", on_conflict="return_existing")).id == first.id
    assert [run.state async for run in place.client.runs()] == ["scheduled"]


@pytest.mark.parametrize(
    "make", [lambda: Trigger.at(datetime(2030, 1, 1)), lambda: Trigger.at(cast("Any", "tomorrow")), lambda: Trigger.after(-1)]
)
def test_bad_triggers(make: Any) -> None:
    with pytest.raises(DefinitionError):
        make()


async def test_what_is_no_trigger_is_refused(place: Place) -> None:
    with pytest.raises(DefinitionError, match="Trigger"):
        await later.enqueue(place.client, 1, trigger=timedelta(seconds=1))  # type: ignore[arg-type]


@workflow(name="rip-van-winkle")
async def rip_van_winkle(ctx: Context) -> list[bool]:
    return [await ctx.sleep(0.01), await ctx.sleep(timedelta(days=365)), await ctx.sleep(0.01)]


async def test_a_sleep_is_ended_early_and_the_code_can_tell(place: Place) -> None:
    await place.worker(rip_van_winkle)
    handle = await rip_van_winkle.enqueue(place.client)
    async for view in handle.changes():
        if view.status.state == "sleeping":
            break
    await handle.wake()
    assert await handle.wait_for_completion(timeout=10) == [True, False, True]
    with pytest.raises(RunEnded):
        await handle.wake()
    with pytest.raises(RunNotFound):
        await rip_van_winkle.handle(place.client, "01hzzzzzzzzzzzzzzzzzzzzzzz").wake()
