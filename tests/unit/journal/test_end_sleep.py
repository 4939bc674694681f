"""Ending a sleep early."""

import asyncio

from aiki.journal import Ignored, RecordedStep, Tick, Woken
from aiki.types.messages import EndSleep
from aiki.types.retry import Retry
from tests.unit.journal.rig import T0, Rig, Steps


async def two_sleeps(steps: Steps) -> list[float]:
    async def sleep(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return steps.now

    return [*await asyncio.gather(sleep(1000), sleep(50)), await sleep(10)]


def test_it_ends_the_sleep_that_would_end_first() -> None:
    rig = Rig(two_sleeps)
    rig.turn(EndSleep(id="a"), after=5)
    assert rig.entries == [Woken(T0 + 5, "a")]
    assert rig.machine.deadline() == T0 + 1000
    rig.reload().turn(EndSleep(id="b"), after=5).turn(after=10)
    assert rig.output == [10.0, 5.0, 20.0]


def test_a_request_that_comes_twice_ends_one_sleep() -> None:
    rig = Rig(two_sleeps)
    rig.turn(EndSleep(id="a"), EndSleep(id="a"), after=5).reload().turn(EndSleep(id="a"), after=1)
    assert rig.entries == [Woken(T0 + 5, "a")]


def test_what_is_due_comes_first() -> None:
    rig = Rig(two_sleeps)
    rig.turn(EndSleep(id="a"), after=60)
    assert rig.entries == [Tick(T0 + 60), Woken(T0 + 60, "a")]
    assert rig.reload().turn(after=10).output == [60.0, 50.0, 70.0]


def test_a_time_out_is_no_sleep() -> None:
    async def waits(steps: Steps) -> str:
        async with asyncio.timeout(100):
            return str(await steps.call("charge"))

    rig = Rig(waits)
    rig.turn(EndSleep(id="a"), after=1)
    assert [type(entry) for entry in rig.entries] == [Ignored]
    assert rig.answer("charge", "paid").output == "paid"


def test_between_two_attempts_nothing_sleeps() -> None:
    async def fails(steps: Steps) -> None:
        await steps.call("charge")

    rig = Rig(fails, retry=Retry.fixed(max_attempts=2, delay=100))
    rig.answer("charge", error="no", after=1).turn(EndSleep(id="a"))
    assert rig.status == "awaiting_retry"
    assert [type(entry) for entry in rig.entries] == [RecordedStep, Ignored]
