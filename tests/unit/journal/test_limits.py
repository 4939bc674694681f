"""Workflow timeouts (one attempt) and deadlines (all attempts)."""

import asyncio

import pytest

from aiki.types.retry import Retry
from tests.unit.journal.rig import T0, Rig, Steps


async def one_task(steps: Steps) -> str:
    return str(await steps.call("charge"))


async def nap(steps: Steps) -> str:
    await asyncio.sleep(100)
    return "rested"


@pytest.mark.parametrize("limit", [{"timeout": 10.0}, {"deadline": 10.0}])
def test_a_run_that_takes_too_long_ends(limit: dict[str, float]) -> None:
    rig = Rig(one_task, **limit)  # type: ignore[arg-type]
    assert [alarm.due for alarm in rig.state.alarms] == [T0 + 10]
    assert rig.turn(after=9.9).status == "awaiting_task"
    assert rig.turn(after=0.1).status == "timed_out"
    assert rig.error.code == "workflow_timed_out"
    assert "longer than 10 s" in rig.error.message


def test_a_result_that_comes_too_late_does_not_count() -> None:
    """The alarm is late, the result is later than the limit: the limit holds, whoever is seen first."""
    rig = Rig(one_task, timeout=10.0)
    result = rig.result("charge", "paid")
    assert rig.turn(result, after=10.5).status == "timed_out"
    assert rig.entries == []


def test_a_result_in_time_counts() -> None:
    assert Rig(one_task, timeout=10.0, deadline=10.0).answer("charge", "paid", after=9.9).output == "paid"


def test_a_limit_that_passed_while_nobody_looked_holds_after_a_reload() -> None:
    rig = Rig(nap, timeout=10.0)
    rig.now += 500
    assert rig.reload().status == "timed_out"


def test_each_attempt_has_its_timeout() -> None:
    rig = Rig(one_task, timeout=10.0, retry=Retry.fixed(max_attempts=3, delay=5))
    assert rig.turn(after=10).status == "awaiting_retry"
    assert rig.machine.deadline() == T0 + 15
    assert rig.turn(after=5).status == "awaiting_task"
    assert rig.state.attempt == 2
    assert rig.machine.deadline() == T0 + 25
    assert rig.reload().machine.deadline() == T0 + 25, "the second attempt began at its own instant"
    assert rig.answer("charge", "paid", after=9).output == "paid"


def test_attempts_run_out() -> None:
    rig = Rig(one_task, timeout=10.0, retry=Retry.fixed(max_attempts=2, delay=1))
    assert rig.turn(after=10).turn(after=1).turn(after=10).status == "timed_out"
    assert rig.state.attempt == 2


def test_the_deadline_ends_a_run_between_attempts_too() -> None:
    rig = Rig(one_task, deadline=30.0, retry=Retry.fixed(max_attempts=9, delay=1000))
    rig.answer("charge", error="no", after=1)
    assert rig.status == "awaiting_retry"
    assert rig.machine.deadline() == T0 + 30
    assert rig.turn(after=29).status == "timed_out"
    assert "the run took longer than 30 s" in rig.error.message


def test_what_the_code_does_meanwhile_goes_on_until_the_limit() -> None:
    async def busy(steps: Steps) -> int:
        count = 0
        while True:
            await asyncio.sleep(3)
            count += 1
            await steps.call("tick", count)

    rig = Rig(busy, timeout=10.0)
    rig.turn(after=3).answer("tick").turn(after=3).answer("tick").turn(after=3)
    assert len(rig.entries) == 5
    assert rig.turn(after=1).status == "timed_out"


def test_a_run_without_limits_has_none() -> None:
    assert Rig(one_task).machine.deadline() is None
