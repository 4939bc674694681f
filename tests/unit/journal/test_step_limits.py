"""Limits of a step, as its run keeps them: its deadline, and the time in which a worker must have begun it."""

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from aiki.journal import RecordedStep
from aiki.types.limits import Limits
from aiki.types.messages import NOT_BEGUN, StepBegun
from aiki.types.retry import Retry
from tests.unit.journal.rig import T0, Rig, StepError, Steps


def limited(**limits: float) -> Any:
    async def code(steps: Steps) -> list[Any]:
        try:
            return ["done", await steps.call("charge", limits=Limits(**limits)), steps.now]
        except StepError as error:
            return ["failed", str(error), steps.now]

    return code


def begun(rig: Rig, at: float, serial: int | None = None) -> StepBegun:
    step = rig.pending("charge")
    return StepBegun(step.address, step.ordinal, step.serial if serial is None else serial, "worker", T0 + at)


def recorded(rig: Rig) -> list[RecordedStep]:
    return [entry for entry in rig.entries if isinstance(entry, RecordedStep)]


def test_a_deadline_ends_the_step_whoever_is_silent() -> None:
    rig = Rig(limited(deadline=10))
    assert [alarm.due for alarm in rig.state.alarms] == [T0 + 10]
    assert rig.turn(after=9.9).status == "awaiting_task"
    assert rig.turn(after=0.1).output == ["failed", "deadline", 10]
    (step,) = recorded(rig)
    assert step.error is not None
    assert (step.error.code, step.error.limit, step.at) == ("task_timed_out", "deadline", T0 + 10)


def test_a_result_after_the_deadline_does_not_count() -> None:
    rig = Rig(limited(deadline=10))
    result = rig.result("charge", "paid")
    assert rig.turn(result, after=11).output == ["failed", "deadline", 10], "it ended at its instant, though that was noticed late"


def test_a_result_before_the_deadline_counts() -> None:
    assert Rig(limited(deadline=10)).answer("charge", "paid", after=9.5).output == ["done", "paid", 9.5]


def test_a_deadline_that_passed_while_nobody_looked_holds() -> None:
    rig = Rig(limited(deadline=10))
    late = rig.result("charge", "paid")
    rig.now += 500
    assert rig.reload(advance=False).turn(late).output == ["failed", "deadline", 10]


def test_a_timer_between_the_deadline_and_now_fires_after_it() -> None:
    async def code(steps: Steps) -> Any:
        seen: list[str] = []

        async def nap(length: float) -> None:
            await asyncio.sleep(length)
            seen.append(f"{length:g}")

        async def call() -> None:
            try:
                await steps.call("charge", limits=Limits(deadline=10))
            except StepError as error:
                seen.append(str(error))

        await asyncio.gather(nap(9), call(), nap(11))
        return seen

    rig = Rig(code)
    rig.now += 60
    assert rig.reload().output == ["9", "deadline", "11"]
    assert rig.reload().output == ["9", "deadline", "11"]


def test_a_local_step_has_a_deadline_too() -> None:
    async def code(steps: Steps) -> Any:
        try:
            return await steps.call("here", local=True, limits=Limits(deadline=3))
        except StepError as error:
            return str(error)

    rig = Rig(code)
    assert rig.machine.deadline() == T0 + 3
    assert rig.turn(after=3).output == "deadline"


def test_a_retry_that_would_begin_after_the_deadline_is_not_waited_for() -> None:
    rig = Rig(limited(deadline=10))
    assert rig.turn(rig.failed_once("charge", 30), after=2).output == ["failed", "deadline", 2]
    (step,) = recorded(rig)
    assert step.error is not None and step.error.cause is not None
    assert step.error.cause.message == "once", "what failed stands behind it"
    assert (len(step.failed), step.started_at) == (1, NOT_BEGUN)
    assert len(rig.sent) == 1


def test_a_retry_before_the_deadline_is_and_the_deadline_stays() -> None:
    rig = Rig(limited(deadline=10))
    rig.turn(rig.failed_once("charge", 5), after=2)
    assert rig.state.pending[0].deadline_at == T0 + 10
    assert len(rig.sent) == 2
    assert rig.turn(after=8).output == ["failed", "deadline", 10]


def test_details_of_a_failed_attempt_go_into_the_next_dispatch() -> None:
    rig = Rig(limited())
    failed = rig.failed_once("charge", 5)
    rig.turn(type(failed)(failed.address, failed.ordinal, failed.serial, failed.failed, failed.delay, b'{"done":3}'), after=2)
    assert rig.sent[max(rig.sent)].details == b'{"done":3}'
    rig.turn(rig.failed_once("charge", 5), after=5)
    assert rig.sent[max(rig.sent)].details == b'{"done":3}', "an attempt that says nothing takes nothing back"
    assert rig.sent[max(rig.sent)].first_began_at == T0


def test_a_step_that_nobody_begins_ends() -> None:
    rig = Rig(limited(start_timeout=10, deadline=100))
    assert rig.turn(after=9.9).status == "awaiting_task"
    assert rig.turn(after=0.1).output == ["failed", "start_timeout", 10]
    assert recorded(rig)[0].started_at == NOT_BEGUN


def test_a_step_that_was_begun_has_no_start_timeout_any_more() -> None:
    rig = Rig(limited(start_timeout=10))
    rig.turn(begun(rig, 9), after=9)
    assert rig.machine.deadline() is None
    assert rig.reload().turn(after=1000).status == "awaiting_task"
    assert rig.answer("charge", "paid").output == ["done", "paid", 1009]


def test_what_was_begun_in_time_counts_also_when_that_comes_late() -> None:
    rig = Rig(limited(start_timeout=10))
    assert rig.turn(begun(rig, 9.9), after=12).status == "awaiting_task"


def test_what_was_begun_too_late_or_under_another_serial_does_not_count() -> None:
    rig = Rig(limited(start_timeout=10))
    rig.turn(begun(rig, 5, serial=99), after=5)
    assert rig.turn(begun(rig, 10), after=5).output == ["failed", "start_timeout", 10]


def test_each_dispatch_has_its_own_start_timeout() -> None:
    rig = Rig(limited(start_timeout=10))
    rig.turn(begun(rig, 1), after=1)
    rig.turn(rig.failed_once("charge", 20), after=4)
    assert rig.machine.deadline() == T0 + 35, "25 s after the start it is sent again"
    assert rig.turn(after=30).output == ["failed", "start_timeout", 35]


def test_a_deadline_between_two_attempts_of_the_workflow_drops_the_step() -> None:
    async def code(steps: Steps) -> Any:
        if steps.machine.state.attempt == 1:
            await asyncio.gather(steps.call("boom"), steps.call("charge", limits=Limits(deadline=10)))
        return await steps.call("charge", limits=Limits(deadline=10))

    rig = Rig(code, retry=Retry.fixed(max_attempts=2, delay=30))
    rig.answer("boom", error="no", after=1)
    assert rig.turn(after=30).status == "awaiting_task"
    (step,) = rig.state.pending
    assert step.deadline_at == T0 + 41, "the second attempt called it anew"
    assert rig.answer("charge", "paid", after=9).output == "paid"


def test_a_step_that_the_second_attempt_does_not_call_ends_in_silence() -> None:
    async def code(steps: Steps) -> Any:
        if steps.machine.state.attempt == 1:
            await asyncio.gather(steps.call("boom"), steps.call("charge", limits=Limits(deadline=40)))
        await asyncio.sleep(60)
        return await steps.call("other")

    rig = Rig(code, retry=Retry.fixed(max_attempts=2, delay=30))
    rig.answer("boom", error="no", after=1)
    rig.turn(after=30).turn(after=30).turn(after=30)
    assert rig.names == ["other"]
    assert rig.answer("other", 1).output == 1


def test_the_workflows_own_limit_comes_first() -> None:
    rig = Rig(limited(deadline=10), timeout=5)
    rig.now += 60
    assert rig.reload().status == "timed_out"


def test_a_workflows_strategy_has_a_cap_in_time() -> None:
    async def code(steps: Steps) -> Any:
        return await steps.call("charge")

    rig = Rig(code, retry=Retry.fixed(max_attempts=100, delay=10, max_elapsed=25))
    for _ in range(10):
        if rig.status == "failed":
            break
        rig.answer("charge", error="no")
        if rig.status == "awaiting_retry":
            rig.turn(after=10)
    assert (rig.status, rig.state.attempt) == ("failed", 3)


LIMITS = st.one_of(st.none(), st.integers(1, 8))
CALLS = st.lists(st.tuples(LIMITS, LIMITS, st.booleans()), min_size=1, max_size=4)
EVENTS = st.lists(
    st.tuples(st.sampled_from(["answer", "fail", "begin", "nothing", "reload", "die"]), st.integers(0, 3), st.integers(0, 5)), max_size=12
)


@given(CALLS, EVENTS)
def test_whatever_happens_limits_hold_and_replay_says_the_same(
    calls: list[tuple[int | None, int | None, bool]], events: list[tuple[str, int, int]]
) -> None:
    """No step is pending after a turn at or past its limit, outcomes stand in their order, and each replay ends as the first run did."""

    async def code(steps: Steps) -> Any:
        async def one(number: int, deadline: int | None, start: int | None, local: bool) -> Any:
            try:
                result = await steps.call(f"s{number}", local=local, limits=Limits(deadline, start))
            except StepError as error:
                result = str(error)
            return [result, steps.now]

        return await asyncio.gather(*(one(number, *call) for number, call in enumerate(calls)))

    rig = Rig(code)
    try:
        for kind, number, pause in events:
            name = f"s{number % len(calls)}"
            rig.now += pause
            if name not in rig.names or kind in ("nothing", "reload", "die"):
                rig.turn() if kind != "die" else rig.reload(advance=False).turn()
            elif kind == "answer":
                rig.answer(name, number)
            elif kind == "fail":
                rig.turn(rig.failed_once(name, 2))
            else:
                step = rig.pending(name)
                rig.turn(StepBegun(step.address, step.ordinal, step.serial, "w", rig.now))
            for step in rig.state.pending:
                assert step.deadline_at is None or step.deadline_at > rig.now
                assert step.start_by is None or step.start_by > rig.now
            instants = [entry.at for entry in rig.entries]
            assert instants == sorted(instants)
            if kind == "reload":
                rig.reload()
        while open := rig.machine.snapshot(rig.now).pending:
            rig.answer(open[0].name, 0)
        output = rig.output
        for call, (result, at) in zip(calls, output, strict=True):
            if result == "deadline":
                assert call[0] is not None
            elif isinstance(result, int) and call[0] is not None:
                assert at < call[0]
    finally:
        Rig.evict_all()
