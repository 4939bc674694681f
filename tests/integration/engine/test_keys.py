"""Idempotency keys: the same key finds the same run."""

import asyncio

import pytest

from aiki.sdk import Context, IdempotencyConflict, task, workflow
from tests.integration.engine.place import Place

SOON = 20.0


@workflow(name="echo")
async def echo(ctx: Context, value: dict[str, int]) -> dict[str, int]:
    return value


async def test_the_same_key_finds_the_same_run_at_each_stage(place: Place) -> None:
    first = await echo.enqueue(place.client, {"a": 1, "b": 2}, idempotency_key="k")
    queued = await echo.enqueue(place.client, {"b": 2, "a": 1}, idempotency_key="k")
    assert queued.id == first.id
    await place.worker(echo)
    assert await queued.wait_for_completion(timeout=SOON) == {"a": 1, "b": 2}
    after = await echo.enqueue(place.client, {"a": 1, "b": 2}, idempotency_key="k")
    assert after.id == first.id
    assert await after.wait_for_completion(timeout=SOON) == {"a": 1, "b": 2}
    assert (await after.get_status()).idempotency_key == "k"
    assert [run.id async for run in place.client.runs()] == [first.id]


async def test_other_keys_and_no_key_are_other_runs(place: Place) -> None:
    ids = {(await echo.enqueue(place.client, {}, idempotency_key=key)).id for key in ("a", "b", "é", "a b", "*", "x" * 1024, None, None)}
    assert len(ids) == 8


@pytest.mark.parametrize("completed", [False, True])
async def test_another_payload_is_a_conflict_that_names_both_hashes(place: Place, completed: bool) -> None:
    first = await echo.enqueue(place.client, {"a": 1}, idempotency_key="k")
    if completed:
        await place.worker(echo)
        await first.wait_for_completion(timeout=SOON)
    with pytest.raises(IdempotencyConflict) as caught:
        await echo.enqueue(place.client, {"a": 2}, idempotency_key="k")
    fields = caught.value.fields
    assert fields["run_id"] == first.id and fields["key"] == "k"
    assert fields["recorded_hash"] != fields["new_hash"] and len(fields["recorded_hash"]) == len(fields["new_hash"]) == 64
    assert fields["recorded_hash"][:12] in str(caught.value) and fields["new_hash"][:12] in str(caught.value)
    existing = await echo.enqueue(place.client, {"a": 2}, idempotency_key="k", on_conflict="return_existing")
    assert existing.id == first.id
    await place.worker(echo)
    assert await existing.wait_for_completion(timeout=SOON) == {"a": 1}


async def test_two_clients_at_once_start_one_run(place: Place) -> None:
    ran: list[int] = []

    @task(name="note")
    async def note(number: int) -> int:
        ran.append(number)
        return number

    @workflow(name="once")
    async def once(ctx: Context, number: int) -> int:
        return await note.run(ctx, number)

    other = await place.connect()
    await place.worker(once, note)
    await place.worker(once, note)
    for number in range(20):
        clients = [place.client, other, place.client, other]
        handles = await asyncio.gather(*(once.enqueue(client, number, idempotency_key=f"k{number}") for client in clients))
        assert len({handle.id for handle in handles}) == 1
        assert await asyncio.gather(*(handle.wait_for_completion(timeout=SOON) for handle in handles)) == [number] * 4
    assert sorted(ran) == list(range(20))


async def test_two_clients_at_once_with_two_payloads_start_one_run_and_one_is_told(place: Place) -> None:
    other = await place.connect()
    await place.worker(echo)
    for number in range(20):
        outcomes = await asyncio.gather(
            *(echo.enqueue(client, {"a": value}, idempotency_key=f"k{number}") for client, value in ((place.client, 1), (other, 2))),
            return_exceptions=True,
        )
        conflicts = [each for each in outcomes if isinstance(each, IdempotencyConflict)]
        assert len(conflicts) == 1, outcomes


async def test_a_key_within_a_run_makes_calls_one_step(place: Place) -> None:
    ran: list[int] = []

    @task(name="charge")
    async def charge(amount: int) -> int:
        ran.append(amount)
        return amount

    @workflow(name="pay")
    async def pay(ctx: Context) -> list[int | str]:
        both: list[int | str] = list(await asyncio.gather(*(charge.run(ctx, 5, idempotency_key="c") for _ in range(2))))
        both.append(await charge.run(ctx, 5, idempotency_key="c"))
        try:
            await charge.run(ctx, 6, idempotency_key="c")
        except IdempotencyConflict as error:
            both.append(error.code)
        both.append(await charge.run(ctx, 5))
        return both

    await place.worker(pay, charge)
    handle = await pay.enqueue(place.client)
    assert await handle.wait_for_completion(timeout=SOON) == [5, 5, 5, "idempotency_conflict", 5]
    assert ran == [5, 5]
