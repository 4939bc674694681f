"""Limits of tasks over days, in virtual time: what holds while nobody is there, and what is shown."""

import asyncio
from typing import Any

from aiki.sdk import Context, Retry, TaskContext, TaskTimedOut, task, workflow
from tests.simulation.test_edges import World, play

DAY = 86_400.0


@task(name="call-back", retry=Retry.fixed(max_attempts=3, delay=5 * DAY, max_elapsed=11 * DAY))
async def call_back(number: str, call: TaskContext) -> Any:
    if call.attempt < 3:
        call.heartbeat([*(call.last_heartbeat or []), call.attempt])
        raise ConnectionError("nobody is there")
    return call.last_heartbeat


@workflow(name="patient")
async def patient(ctx: Context, deadline: float | None) -> Any:
    began = ctx.now()
    try:
        return await call_back.run(ctx, "555-0100", deadline=deadline)
    except TaskTimedOut as error:
        return [error.limit, error.attempts, round((ctx.now() - began).total_seconds() / DAY, 3)]


def test_a_retry_that_waits_for_days_survives_all_workers_and_keeps_its_last_heartbeat() -> None:
    async def scene(world: World) -> None:
        worker = await world.worker(patient, call_back)
        handle = await patient.enqueue(world.client, None)
        for attempt in (1, 2):
            await asyncio.sleep(10)
            await worker.stop()
            (step,) = (await handle.describe()).steps
            assert (step.state, step.attempts, len(step.failed_attempts)) == ("awaiting_retry", attempt, attempt)
            assert step.last_heartbeat == list(range(1, attempt + 1))
            assert step.next_attempt_at is not None
            await asyncio.sleep(step.next_attempt_at.timestamp() - world.clock.now() - 5)
            worker = await world.worker(patient, call_back)
        assert await handle.wait_for_completion(timeout=60) == [1, 2]
        await worker.stop()

    play(scene)


def test_a_retry_that_found_no_worker_until_its_strategy_was_over_does_not_begin() -> None:
    async def scene(world: World) -> None:
        worker = await world.worker(patient, call_back)
        handle = await patient.enqueue(world.client, None)
        await asyncio.sleep(10)
        await worker.stop()
        await asyncio.sleep(20 * DAY)
        worker = await world.worker(patient, call_back)
        result = await handle.wait_for_completion(timeout=60)
        assert result[:2] == ["max_elapsed", 1]
        await worker.stop()

    play(scene)


def test_a_deadline_that_passed_while_nobody_was_there_holds_and_is_dated_right() -> None:
    async def scene(world: World) -> None:
        worker = await world.worker(patient)
        handle = await patient.enqueue(world.client, 2 * DAY)
        await asyncio.sleep(10)
        await worker.stop()
        await asyncio.sleep(20 * DAY)
        worker = await world.worker(patient, call_back)
        assert await handle.wait_for_completion(timeout=60) == ["deadline", 1, 2.0]
        await worker.stop()

    play(scene)


def test_a_retry_that_would_begin_after_the_deadline_is_not_waited_for() -> None:
    async def scene(world: World) -> None:
        worker = await world.worker(patient, call_back)
        handle = await patient.enqueue(world.client, 2 * DAY)
        assert await handle.wait_for_completion(timeout=60) == ["deadline", 1, 0.0]
        await worker.stop()

    play(scene)
