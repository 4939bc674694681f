"""Limits of tasks and their heartbeats, on NATS."""

import asyncio
import time
from typing import Any

import msgspec
import pytest

from aiki.sdk import Client, Context, DefinitionError, Retry, TaskContext, TaskTimedOut, WorkflowFailed, task, workflow
from tests.integration.engine.place import Place, eventually


class Limit(msgspec.Struct):
    which: str
    attempts: int
    seconds: float


@task(name="hang")
async def hang(number: int) -> int:
    await asyncio.Event().wait()
    return number


@task(name="nap", start_timeout=2)
async def nap(length: float) -> str:
    await asyncio.sleep(length)
    return "rested"


@task(name="silent", heartbeat=1, retry=Retry.fixed(max_attempts=3, delay=0.01))
async def silent(number: int, call: TaskContext) -> Any:
    if call.attempt == 1:
        for done in range(5):
            call.heartbeat({"done": done})
        await asyncio.Event().wait()
    return call.last_heartbeat


@task(name="threaded", heartbeat=1, retry=Retry.fixed(max_attempts=3, delay=0.01))
def threaded(number: int, call: TaskContext) -> Any:
    if call.attempt == 1:
        for done in range(5):
            call.heartbeat(done)
        while not call.cancelled:
            time.sleep(0.01)
        call.heartbeat("from the dead")
    return call.last_heartbeat


@task(name="patient", retry=Retry.fixed(max_attempts=2, delay=1.2))
async def patient(number: int, call: TaskContext) -> Any:
    if call.attempt == 1:
        call.heartbeat([number])
        raise ValueError("not yet")
    return call.last_heartbeat


CALLS: dict[str, Any] = {
    "deadline": lambda ctx: hang.run(ctx, 1, deadline=0.6),
    "local deadline": lambda ctx: hang.run(ctx, 1, deadline=0.6, local=True),
    "long deadline": lambda ctx: hang.run(ctx, 1, deadline=1.6),
    "heartbeat": lambda ctx: hang.run(ctx, 1, heartbeat=0.3),
    "timeout": lambda ctx: hang.run(ctx, 1, timeout=0.3),
    "start_timeout": lambda ctx: nap.run(ctx, 1, queue="nobody", start_timeout=0.5),
    "shown deadline": lambda ctx: hang.run(ctx, 1, deadline=4),
    "bad": lambda ctx: hang.run(ctx, 1, heartbeat=2, timeout=1),
}


@workflow(name="limited")
async def limited(ctx: Context, call: str) -> Limit:
    began = ctx.now()
    try:
        await CALLS[call](ctx)
    except TaskTimedOut as error:
        return Limit(error.limit, error.attempts, (ctx.now() - began).total_seconds())
    raise AssertionError


@workflow(name="through")
async def through(ctx: Context) -> list[Any]:
    return list(
        await asyncio.gather(
            nap.run(ctx, 2.5), silent.run(ctx, 1), silent.run(ctx, 2, local=True), threaded.run(ctx, 3), patient.run(ctx, 4),
            patient.run(ctx, 5, local=True),
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    ("call", "least", "attempts"),
    [
        ("deadline", 0.6, 1),
        ("local deadline", 0.6, 1),
        ("long deadline", 1.6, 1),
        ("heartbeat", 0.3, 1),
        ("timeout", 0.3, 1),
        ("start_timeout", 0.5, 0),
    ],
)
async def test_each_limit_ends_the_task_and_says_which_it_was(place: Place, call: str, least: float, attempts: int) -> None:
    await place.worker(limited, hang, nap)
    result = await (await limited.enqueue(place.client, call)).wait_for_completion(timeout=15)
    assert result.which == call.split()[-1]
    assert result.attempts == attempts
    assert least <= result.seconds < least + 5


async def test_a_deadline_holds_without_any_worker_for_the_task(place: Place) -> None:
    await place.worker(limited)
    assert (await (await limited.enqueue(place.client, "deadline")).wait_for_completion(timeout=15)).which == "deadline"


async def test_limits_that_contradict_each_other_are_refused_at_the_call(place: Place) -> None:
    await place.worker(limited)
    with pytest.raises(WorkflowFailed, match="of no use"):
        await (await limited.enqueue(place.client, "bad")).wait_for_completion(timeout=15)
    with pytest.raises(DefinitionError):
        task(name="x", heartbeat=0)(hang.function)


async def test_tasks_within_their_limits_and_the_details_of_their_heartbeats(place: Place) -> None:
    await place.worker(through, nap, silent, threaded, patient)
    result = await (await through.enqueue(place.client)).wait_for_completion(timeout=20)
    assert result == ["rested", {"done": 4}, {"done": 4}, 4, [4], [5]]


async def test_limits_are_shown(place: Place) -> None:
    await place.worker(limited)
    handle = await limited.enqueue(place.client, "shown deadline")
    other = await limited.enqueue(place.client, "start_timeout")

    async def written() -> bool:
        return bool((await handle.describe()).steps and (await other.describe()).steps)

    await eventually(written)
    (step,) = (await handle.describe()).steps
    assert step.deadline_at is not None and step.start_by is None
    assert (step.deadline_at - step.issued_at).total_seconds() == pytest.approx(4)
    assert f"task hang, until {step.deadline_at.isoformat()} at most" in (await handle.get_status()).waiting_on
    (step,) = (await other.describe()).steps
    assert step.deadline_at is None
    assert step.start_by is None or (step.start_by - step.issued_at).total_seconds() == pytest.approx(0.5)
    await handle.wait_for_completion(timeout=15)
    (step,) = (await handle.describe()).steps
    assert (step.state, step.deadline_at) == ("failed", None)
    assert step.error is not None and step.error.limit == "deadline"
    await other.wait_for_completion(timeout=15)
    (step,) = (await other.describe()).steps
    assert (step.attempts, step.started_at) == (0, None)


@workflow(name="waits")
async def waits(ctx: Context, number: int) -> Any:
    return await patient.run(ctx, number, retry=Retry.fixed(max_attempts=2, delay=86_400 * 5))


async def test_a_retry_that_waits_for_days_is_shown_with_its_instant_and_its_last_heartbeat(place: Place) -> None:
    worker = await place.worker(waits, patient)
    handle = await waits.enqueue(place.client, 7)

    async def waiting() -> bool:
        return (await handle.get_status()).state == "awaiting_retry"

    await eventually(waiting)
    await worker.stop()
    (step,) = (await handle.describe()).steps
    assert step.next_attempt_at is not None
    assert (step.next_attempt_at - step.issued_at).total_seconds() == pytest.approx(86_400 * 5, abs=5)
    assert step.last_heartbeat == [7]
    assert "attempt 2 of patient" in (await handle.get_status()).waiting_on[0]


async def withdraw(client: Client, run_id: str, serials: list[int]) -> None:
    client.transport.send(client.subjects.withdrawn_prefix + run_id, msgspec.msgpack.encode(serials))


@pytest.mark.parametrize("serials", [[], [1], [2]])
@pytest.mark.parametrize("manner", ["tell", "raise"])
async def test_withdrawn_dispatches(place: Place, manner: Any, serials: list[int]) -> None:
    """Their bodies hear of it, and their outcome is not reported; those of others go on."""
    began, ended = asyncio.Event(), asyncio.Event()
    release = asyncio.Event()
    seen: list[Any] = []

    @task(name="body", on_cancel=manner)
    async def body(number: int, call: TaskContext) -> int:
        began.set()
        try:
            while not call.cancelled and not release.is_set():  # noqa: ASYNC110  # a body looks
                await asyncio.sleep(0.01)
            seen.append(("cancelled", call.cancelled))
        except asyncio.CancelledError:
            seen.append(("raised", call.cancelled))
            raise
        finally:
            ended.set()
        return number

    @workflow(name="calls")
    async def calls(ctx: Context) -> int:
        return await body.run(ctx, 3)

    await place.worker(calls, body)
    handle = await calls.enqueue(place.client)
    await asyncio.wait_for(began.wait(), 10)
    await withdraw(place.client, handle.id, serials)
    transport, subjects = place.client.transport, place.client.subjects

    async def settled() -> bool:
        return await transport.backlog(subjects.task_stream, subjects.task_consumer("default", "body")) == (0, 0)

    if serials == [2]:
        await transport.last(subjects.task_stream, "none")  # the withdrawal has gone ahead on the same connection
        release.set()
        assert await handle.wait_for_completion(timeout=10) == 3
        assert seen == [("cancelled", False)]
    else:
        await asyncio.wait_for(ended.wait(), 10)
        await eventually(settled)
        assert seen == [("raised" if manner == "raise" else "cancelled", True)]
        assert (await handle.get_status()).state == "awaiting_task", "nothing was reported"
