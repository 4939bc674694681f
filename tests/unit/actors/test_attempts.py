"""Attempts of a body under its limits, in virtual time."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from aiki.actors.attempts import AttemptLimits, Ended, run_attempts
from aiki.actors.beats import Beats, BeatWriter
from aiki.actors.pulse import BodyPulse
from aiki.clock import VirtualClock, run_virtual
from aiki.task.thread import run_in_thread
from aiki.transport import MemoryServer
from aiki.types.messages import NOT_BEGUN
from aiki.types.retry import Retry
from aiki.types.subjects import Subjects

Test = Callable[[VirtualClock], Coroutine[Any, Any, None]]


def virtual(test: Test) -> Callable[[], None]:
    def run() -> None:
        run_virtual(test)

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


async def attempts(clock: VirtualClock, body: Callable[[int], Awaitable[bytes]], **options: Any) -> Ended:
    return await run_attempts(body, clock=clock, worker="w", **options)


async def hang(attempt: int) -> bytes:
    await asyncio.Event().wait()
    return b""


@virtual
async def test_a_body_that_beats_in_time_goes_on(clock: VirtualClock) -> None:
    pulse = BodyPulse()

    async def body(attempt: int) -> bytes:
        for _ in range(10):
            await asyncio.sleep(4)
            pulse.beat(attempt, None)
        return b"1"

    ended = await attempts(clock, body, limits=AttemptLimits(heartbeat=5), pulse=pulse)
    assert (ended.value, ended.error) == (b"1", None)


@virtual
async def test_a_body_that_is_silent_fails_and_is_tried_again(clock: VirtualClock) -> None:
    pulse = BodyPulse()
    seen: list[Any] = []

    async def body(attempt: int) -> bytes:
        seen.append((attempt, pulse.details))
        if attempt == 1:
            await asyncio.sleep(4)
            pulse.beat(attempt, b"3")
            await hang(attempt)
        return b"1"

    began = clock.now()
    ended = await attempts(clock, body, limits=AttemptLimits(heartbeat=5), pulse=pulse, retry=Retry.fixed(max_attempts=2, delay=0))
    assert ended.value == b"1"
    assert clock.now() - began == pytest.approx(9)
    assert [failed.error.limit for failed in ended.failed] == ["heartbeat"]
    assert seen == [(1, None), (2, b"3")], "what it said last is there for the next attempt"


@virtual
async def test_the_beats_of_an_attempt_that_is_over_count_for_nothing(clock: VirtualClock) -> None:
    pulse = BodyPulse()
    over: list[bool] = []

    async def body(attempt: int) -> bytes:
        if attempt == 2:
            over.append(pulse.is_over(1))
            pulse.beat(1, b"1")
            await hang(attempt)
        over.append(pulse.is_over(1))
        raise ValueError

    ended = await attempts(clock, body, limits=AttemptLimits(heartbeat=5), pulse=pulse, retry=Retry.fixed(max_attempts=2, delay=0))
    assert ended.error is not None and ended.error.limit == "heartbeat"
    assert pulse.details is None
    assert over == [False, True]


@virtual
async def test_the_first_limit_that_is_met_is_named(clock: VirtualClock) -> None:
    for limit, limits in (
        ("timeout", AttemptLimits(3, 5, clock.now() + 4)),
        ("heartbeat", AttemptLimits(7, 5, clock.now() + 60)),
        ("deadline", AttemptLimits(9, None, clock.now() + 8)),
    ):
        ended = await attempts(clock, hang, limits=limits)
        assert ended.error is not None
        assert (ended.error.code, ended.error.limit) == ("task_timed_out", limit)


@virtual
async def test_a_timeout_of_the_bodys_own_is_no_limit_of_ours(clock: VirtualClock) -> None:
    async def body(attempt: int) -> bytes:
        async with asyncio.timeout(1):
            return await hang(attempt)

    ended = await attempts(clock, body, limits=AttemptLimits(10, 10, clock.now() + 10))
    assert ended.error is not None
    assert (ended.error.type, ended.error.limit) == ("TimeoutError", None)


@virtual
async def test_after_the_deadline_nothing_begins(clock: VirtualClock) -> None:
    ended = await attempts(clock, hang, limits=AttemptLimits(deadline_at=clock.now()))
    assert ended.error is not None and ended.error.limit == "deadline"
    assert ended.started_at == NOT_BEGUN


@virtual
async def test_a_retry_that_would_begin_after_the_deadline_fails_at_once(clock: VirtualClock) -> None:
    async def body(attempt: int) -> bytes:
        raise ValueError("no")

    began = clock.now()
    for delay in (0.9, 30):
        ended = await attempts(clock, body, limits=AttemptLimits(deadline_at=began + 0.5), retry=Retry.fixed(max_attempts=9, delay=delay))
        assert ended.error is not None and ended.error.cause is not None
        assert (ended.error.limit, ended.error.cause.message, len(ended.failed)) == ("deadline", "no", 1)
    assert clock.now() == began


@virtual
async def test_no_attempt_begins_later_than_max_elapsed(clock: VirtualClock) -> None:
    begun: list[float] = []
    first = clock.now()

    async def body(attempt: int) -> bytes:
        begun.append(clock.now() - first)
        raise ValueError("no")

    retry = Retry.fixed(max_attempts=100, delay=0.4, max_elapsed=1)
    ended = await attempts(clock, body, retry=retry)
    assert begun == pytest.approx([0, 0.4, 0.8])
    assert ended.error is not None and ended.error.message == "no", "as when attempts run out, the last error is what counts"


@virtual
async def test_an_attempt_that_was_to_begin_earlier_does_not_begin_after_max_elapsed(clock: VirtualClock) -> None:
    """Its dispatch found no worker in time."""
    retry = Retry.fixed(max_attempts=100, delay=60, max_elapsed=100)
    ended = await attempts(clock, hang, first=2, first_began_at=clock.now() - 500, retry=retry)
    assert ended.error is not None and ended.error.limit == "max_elapsed"
    assert ended.started_at == NOT_BEGUN


@virtual
async def test_a_body_of_which_nobody_wants_to_hear_is_not_tried_again(clock: VirtualClock) -> None:
    pulse = BodyPulse()
    begun: list[int] = []

    async def body(attempt: int) -> bytes:
        begun.append(attempt)
        pulse.cancel()
        assert pulse.is_over(attempt)
        raise ValueError

    await attempts(clock, body, pulse=pulse, retry=Retry.fixed(max_attempts=9, delay=0))
    assert begun == [1]


async def test_a_body_in_a_thread_beats_too() -> None:
    pulse = BodyPulse()
    pulse.begin(1, None)
    said: list[int] = []

    def body() -> None:
        said.append(threading.get_ident())
        pulse.beat(1, b"7")

    await run_in_thread(body)
    await asyncio.sleep(0)
    assert pulse.details == b"7"
    assert said != [threading.get_ident()]


@virtual
async def test_beats_are_written_seldom_and_the_last_one_wins(clock: VirtualClock) -> None:
    server = MemoryServer(clock)
    transport = server.connect()
    beats = Beats(transport, Subjects("r"))
    assert await beats.last("run", 1) is None, "without a bucket too"
    await beats.open()
    before = transport.published
    writer = BeatWriter(beats, "run", 1, every=2.0)
    for number in range(50):
        writer.put(b"%d" % number)
        await asyncio.sleep(0.1)
    assert transport.published - before == 3
    writer.put(b"50")
    writer.close(settled=False)
    await asyncio.sleep(5)
    assert transport.published - before == 3, "nobody wants it any more"
    writer.put(b"51")
    await asyncio.sleep(0.1)
    assert await beats.last("run", 1) == b"51"
    writer.close(settled=True)
    await asyncio.sleep(0.1)
    assert await beats.last("run", 1) is None


@virtual
async def test_a_bucket_that_is_gone_is_made_again(clock: VirtualClock) -> None:
    beats = Beats(MemoryServer(clock).connect(), Subjects("r"))
    await beats.write("run", 1, b"1")
    assert await beats.last("run", 1) == b"1"
