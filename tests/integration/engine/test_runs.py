"""What workflow code can do, on real NATS."""

import asyncio
import dataclasses
import time
from datetime import timedelta
from typing import Any

import pytest

from aiki.sdk import Context, Retry, TaskContext, TaskFailed, TaskTimedOut, WorkflowFailed, task, workflow
from tests.integration.engine.place import Place, eventually

SOON = 20.0


@dataclasses.dataclass
class Point:
    x: int
    y: int


@task(name="double")
async def double(number: int) -> int:
    return 2 * number


@task(name="triple")
def triple(number: int) -> int:
    return 3 * number


async def test_local_and_remote_steps(place: Place) -> None:
    @task(name="where")
    async def where(point: Point, info: TaskContext) -> tuple[int, str, int, str]:
        return point.x + point.y, info.run_id, info.attempt, info.task

    @workflow(name="mixed")
    async def mixed(ctx: Context, number: int) -> dict[str, Any]:
        return {
            "remote": await double.run(ctx, number),
            "local": await double.run(ctx, number, local=True),
            "thread": await triple.run(ctx, number),
            "local thread": await triple.run(ctx, number, local=True),
            "context": await where.run(ctx, Point(number, 1)),
            "same again": await double.run(ctx, number),
        }

    await place.worker(mixed, double, triple, where, id="w")
    handle = await mixed.enqueue(place.client, 5)
    assert await handle.wait_for_completion(timeout=SOON) == {
        "remote": 10,
        "local": 10,
        "thread": 15,
        "local thread": 15,
        "context": [6, handle.id, 1, "where"],
        "same again": 10,
    }
    view = await handle.describe()
    assert [(step.kind, step.name, step.ordinal) for step in view.steps] == [
        ("task", "double", 0),
        ("local", "double", 1),
        ("task", "triple", 0),
        ("local", "triple", 1),
        ("task", "where", 0),
        ("task", "double", 2),
    ]
    assert view.input == 5 and view.steps[4].input == {"x": 5, "y": 1}
    assert {step.worker for step in view.steps} == {"w"} and {step.attempts for step in view.steps} == {1}
    for step in view.steps:
        assert step.started_at is not None and step.finished_at is not None
        assert view.status.created_at <= step.issued_at <= step.finished_at and step.started_at <= step.finished_at
    assert view.status.finished_at is not None and view.output == await handle.wait_for_completion(timeout=SOON)


async def test_steps_with_functions_of_all_kinds(place: Place) -> None:
    def typed() -> Point:
        return Point(1, 2)

    async def typed_async() -> list[Point]:
        return [Point(3, 4)]

    @workflow(name="steps")
    async def steps(ctx: Context) -> list[Any]:
        point = await ctx.step("typed", typed)
        [other] = await ctx.step("typed", typed_async)
        plain = await ctx.step("plain", lambda: (1, 2))

        async def later() -> str:
            await asyncio.sleep(0.01)
            return "later"

        return [point.x, other.y, plain, await ctx.step("later", later), await ctx.step("lambda", lambda: later())]

    await place.worker(steps)
    handle = await steps.enqueue(place.client)
    assert await handle.wait_for_completion(timeout=SOON) == [1, 4, [1, 2], "later", "later"]


async def test_gather_groups_timeouts_and_races(place: Place) -> None:
    release = asyncio.Event()

    @task(name="slow")
    async def slow(seconds: float) -> float:
        if seconds:
            await asyncio.wait_for(release.wait(), SOON)
        return seconds

    @workflow(name="parallel")
    async def parallel(ctx: Context) -> list[Any]:
        found: list[Any] = [await asyncio.gather(*(double.run(ctx, number, local=number % 2 == 0) for number in range(6)))]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(double.run(ctx, 10)), group.create_task(double.run(ctx, 11, local=True))]
        found.append([each.result() for each in tasks])
        try:
            async with asyncio.timeout(0.2):
                await slow.run(ctx, 1.0)
        except TimeoutError:
            found.append("timeout")
        racers = {asyncio.create_task(slow.run(ctx, 2.0)), asyncio.create_task(slow.run(ctx, 0.0))}
        done, pending = await asyncio.wait(racers, return_when=asyncio.FIRST_COMPLETED)
        for each in pending:
            each.cancel()
        found.append([each.result() for each in done])
        queue: asyncio.Queue[int] = asyncio.Queue()
        await asyncio.gather(queue.put(1), queue.put(2))
        found.append([queue.get_nowait(), queue.get_nowait()])
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(slow.run(ctx, 3.0))
                group.create_task(ctx.step("fails", lambda: 1 / 0))
        except* TaskFailed as errors:
            found.append(len(errors.exceptions))
        return found

    await place.worker(parallel, double, slow)
    handle = await parallel.enqueue(place.client)
    try:
        assert await handle.wait_for_completion(timeout=SOON) == [[0, 2, 4, 6, 8, 10], [20, 22], "timeout", [0.0], [1, 2], 1]
    finally:
        release.set()


@pytest.mark.parametrize("seconds", [0.05, 1.5])
@pytest.mark.parametrize("how", ["ctx", "asyncio"])
async def test_sleeps_are_never_early(place: Place, seconds: float, how: str) -> None:
    woken: list[float] = []

    @workflow(name="sleeper")
    async def sleeper(ctx: Context, seconds: float) -> float:
        began = ctx.now()
        await (ctx.sleep(timedelta(seconds=seconds)) if how == "ctx" else asyncio.sleep(seconds))
        woken.append(time.time())
        return (ctx.now() - began).total_seconds()

    await place.worker(sleeper)
    began = time.time()
    handle = await sleeper.enqueue(place.client, seconds)
    assert seconds - 1e-6 <= await handle.wait_for_completion(timeout=SOON) < seconds + 2
    assert began + seconds - 0.001 <= woken[0]
    status = await handle.get_status()
    assert status.finished_at is not None
    assert (status.finished_at - status.created_at).total_seconds() >= seconds


async def test_a_sleeping_run_says_so(place: Place) -> None:
    @workflow(name="sleeper")
    async def sleeper(ctx: Context) -> None:
        await ctx.sleep(3600)

    await place.worker(sleeper)
    handle = await sleeper.enqueue(place.client)

    async def sleeps() -> bool:
        return (await handle.get_status()).state == "sleeping"

    await eventually(sleeps)
    view = await handle.describe()
    assert view.sleeps_until is not None
    assert 3590 < (view.sleeps_until - view.status.created_at).total_seconds() < 3610
    assert view.status.waiting_on and view.status.waiting_on[0].startswith("a timer at ")


STRATEGIES = {
    "fixed": Retry.fixed(max_attempts=3, delay=0.05),
    "linear": Retry.linear(max_attempts=3, base_delay=0.03),
    "exponential": Retry.exponential(max_attempts=3, base_delay=0.03, max_delay=0.05),
    "jittered": Retry.jittered(max_attempts=3, base_delay=0.05),
    "schedule": Retry.schedule([0.02, 0.05]),
    "durable": Retry.schedule([0, 1.2]),
}
LEAST = {"fixed": 0.1, "linear": 0.09, "exponential": 0.08, "jittered": 0.0, "schedule": 0.07, "durable": 1.2}


@pytest.mark.parametrize("local", [True, False])
async def test_every_strategy_of_retries(place: Place, local: bool) -> None:
    began: dict[str, list[float]] = {}

    @task(name="flaky")
    async def flaky(kind: str, info: TaskContext) -> int:
        began.setdefault(kind, []).append(time.time())
        assert info.attempt == len(began[kind])
        if info.attempt < 3:
            raise ValueError(f"attempt {info.attempt}")
        return info.attempt

    @workflow(name="stubborn")
    async def stubborn(ctx: Context, kind: str) -> int:
        return await flaky.run(ctx, kind, retry=STRATEGIES[kind], local=local)

    await place.worker(stubborn, flaky, id="w")
    handles = {kind: await stubborn.enqueue(place.client, kind) for kind in STRATEGIES}
    for kind, handle in handles.items():
        assert await handle.wait_for_completion(timeout=SOON) == 3
        assert began[kind][2] - began[kind][0] >= LEAST[kind] - 0.001, kind
        [step] = (await handle.describe()).steps
        assert step.attempts == 3
        assert [(each.number, each.error.message, each.worker) for each in step.failed_attempts] == [
            (1, "attempt 1", "w"),
            (2, "attempt 2", "w"),
        ]


async def test_a_delay_that_a_task_chooses(place: Place) -> None:
    began: list[float] = []

    @task(name="busy", retry=Retry.fixed(max_attempts=3, delay=3600))
    async def busy(_: None, info: TaskContext) -> int:
        began.append(time.time())
        if info.attempt < 3:
            raise Retry.after(0.1 if info.attempt == 1 else 1.2)
        return info.attempt

    @workflow(name="patient")
    async def patient(ctx: Context) -> int:
        return await busy.run(ctx, None)

    await place.worker(patient, busy)
    handle = await patient.enqueue(place.client)
    assert await handle.wait_for_completion(timeout=SOON) == 3
    assert began[1] - began[0] >= 0.099 and began[2] - began[1] >= 1.199


async def test_which_exceptions_are_tried_again(place: Place) -> None:
    ran: list[str] = []
    errors = {"LookupError": LookupError, "KeyError": KeyError, "ValueError": ValueError}

    @task(name="picky", retry=Retry.fixed(max_attempts=2, delay=0, retry_on=LookupError))
    async def picky(kind: str) -> None:
        ran.append(f"on {kind}")
        raise errors[kind]()

    @task(name="wary", retry=Retry.fixed(max_attempts=2, delay=0, no_retry_on=[LookupError]))
    async def wary(kind: str) -> None:
        ran.append(f"not on {kind}")
        raise errors[kind]()

    @workflow(name="caller")
    async def caller(ctx: Context) -> None:
        for kind in errors:
            for each in (picky, wary):
                try:
                    await each.run(ctx, kind)
                except TaskFailed as error:
                    assert error.fields["error"].type == kind

    await place.worker(caller, picky, wary)
    await (await caller.enqueue(place.client)).wait_for_completion(timeout=SOON)
    assert {each: ran.count(each) for each in ran} == {
        "on LookupError": 2,
        "not on LookupError": 1,
        "on KeyError": 2,
        "not on KeyError": 1,
        "on ValueError": 1,
        "not on ValueError": 2,
    }


@pytest.mark.parametrize("local", [True, False])
async def test_an_attempt_that_takes_too_long(place: Place, local: bool) -> None:
    cancelled: list[int] = []

    @task(name="slow", timeout=0.1, retry=Retry.fixed(max_attempts=2, delay=0.01))
    async def slow(_: None, info: TaskContext) -> None:
        try:
            await asyncio.sleep(SOON)
        except asyncio.CancelledError:
            cancelled.append(info.attempt)
            raise

    @workflow(name="impatient")
    async def impatient(ctx: Context) -> int:
        try:
            await slow.run(ctx, None, local=local)
        except TaskTimedOut as error:
            return int(error.fields["attempts"])
        return 0

    await place.worker(impatient, slow)
    handle = await impatient.enqueue(place.client)
    assert await handle.wait_for_completion(timeout=SOON) == 2
    assert cancelled == [1, 2]


async def test_another_attempt_of_the_workflow_keeps_completed_steps(place: Place) -> None:
    ran: list[str] = []

    @task(name="note", local=True)
    async def note(text: str) -> str:
        ran.append(text)
        return text

    @task(name="remote-note")
    async def remote_note(text: str) -> str:
        ran.append(text)
        if text == "fails once" and ran.count(text) == 1:
            raise ValueError(text)
        return text

    @workflow(name="again", retry=Retry.schedule([0.05, 1.2]))
    async def again(ctx: Context) -> int:
        await note.run(ctx, "local")
        await remote_note.run(ctx, "remote")
        await remote_note.run(ctx, "fails once")
        if ctx.attempt == 2:
            raise LookupError("second attempt")
        return ctx.attempt

    await place.worker(again, note, remote_note)
    handle = await again.enqueue(place.client)
    assert await handle.wait_for_completion(timeout=SOON) == 3
    assert ran == ["local", "remote", "fails once", "fails once"]
    status = await handle.get_status()
    assert (status.state, status.attempts, status.error) == ("completed", 3, None)


async def test_attempts_of_the_workflow_end(place: Place) -> None:
    @workflow(name="hopeless", retry=Retry.fixed(max_attempts=3, delay=0.01))
    async def hopeless(ctx: Context) -> None:
        raise ValueError(f"attempt {ctx.attempt}")

    await place.worker(hopeless)
    handle = await hopeless.enqueue(place.client)
    with pytest.raises(WorkflowFailed, match="attempt 3"):
        await handle.wait_for_completion(timeout=SOON)
    assert (await handle.get_status()).attempts == 3


async def test_queues(place: Place) -> None:
    @task(name="fixed", queue="gpu")
    async def fixed(_: None) -> str:
        return "gpu"

    def who(name: str) -> Any:
        @task(name="who")
        async def who(_: None) -> str:
            return name

        return who

    first, second = who("first"), who("second")

    @workflow(name="routed")
    async def routed(ctx: Context) -> list[str]:
        return [await first.run(ctx, None), await first.run(ctx, None, queue="other"), await fixed.run(ctx, None)]

    await place.worker(routed, first)
    await place.worker(second, fixed, queue="other")
    handle = await routed.enqueue(place.client)
    assert await handle.wait_for_completion(timeout=SOON) == ["first", "second", "gpu"]
    assert [step.queue for step in (await handle.describe()).steps] == [None, "other", "gpu"]


async def test_two_versions_side_by_side(place: Place) -> None:
    gate = asyncio.Event()

    @task(name="gate")
    async def wait(_: None) -> None:
        await asyncio.wait_for(gate.wait(), SOON)

    def version(number: str) -> Any:
        @workflow(name="flow", version=number)
        async def flow(ctx: Context) -> str:
            await wait.run(ctx, None)
            return f"{number} {ctx.version}"

        return flow

    old, new = version("1.0.0"), version("2.0.0")
    await place.worker(old, wait)
    first = await old.enqueue(place.client)
    await place.worker(new)
    second = await new.enqueue(place.client)
    gate.set()
    assert await first.wait_for_completion(timeout=SOON) == "1.0.0 1.0.0"
    assert await second.wait_for_completion(timeout=SOON) == "2.0.0 2.0.0"


async def test_chance_and_time_are_the_same_at_each_replay(place: Place) -> None:
    seen: list[tuple[Any, ...]] = []

    @workflow(name="dice")
    async def dice(ctx: Context) -> int:
        values = (ctx.now(), ctx.random(), ctx.uuid(), ctx.rng.randrange(1000))
        await double.run(ctx, 1)
        await ctx.sleep(1.1)
        seen.append((*values, ctx.uuid()))
        return len(seen)

    await place.worker(dice, double, cached_runs=0)
    handle = await dice.enqueue(place.client)
    await handle.wait_for_completion(timeout=SOON)
    assert len(set(seen)) == 1
