"""Attempts of a body: run it, time it, try it again after short delays; long ones are for a durable timer."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import msgspec

from aiki.actors.pulse import BodyPulse
from aiki.clock import Clock
from aiki.types.errors import DefinitionError, PayloadError, TaskTimedOut, WorkerLost
from aiki.types.failure import ErrorInfo
from aiki.types.messages import NOT_BEGUN, Attempt, kept_attempts
from aiki.types.retry import Retry

__all__ = ["LONGEST_WAIT", "NO_LIMITS", "AttemptLimits", "Ended", "lost", "run_attempts", "step_key"]

LONGEST_WAIT = 1.0
"""Seconds that whoever runs a body waits for its next attempt; longer delays are recorded and survive the process."""

_NEVER = Retry.never()


class AttemptLimits(NamedTuple):
    """`timeout`: seconds for one attempt; `heartbeat`: seconds of silence; `deadline_at`: the instant at which all is over."""

    timeout: float | None = None
    heartbeat: float | None = None
    deadline_at: float | None = None


NO_LIMITS = AttemptLimits()


class Ended(NamedTuple):
    """What came of it: a value, a final error, or (`delay`) another attempt that is due much later."""

    value: bytes
    error: ErrorInfo | None
    started_at: float
    failed: tuple[Attempt, ...] = ()
    delay: float | None = None


def lost(task: str, retry: Retry | None) -> ErrorInfo | None:
    """The outcome of a step that was begun by a worker which is gone, when its strategy is not to run it again; None: run it again."""
    if retry is None or retry.on_crash != "fail":
        return None
    return ErrorInfo.of(
        WorkerLost(f"the worker that had task {task!r} was lost; it is not run again, as its retry strategy says", task=task)
    )


def step_key(run_id: str, address: str, ordinal: int, key: str | None) -> str:
    """The idempotency key that all attempts of a step see: the user's own, or one that no other step has."""
    return key if key is not None else f"{run_id}/{address}/{ordinal}"


async def run_attempts(
    body: Callable[[int], Awaitable[bytes]],
    *,
    clock: Clock,
    worker: str,
    first: int = 1,
    first_began_at: float | None = None,
    retry: Retry | None = None,
    limits: AttemptLimits = NO_LIMITS,
    pulse: BodyPulse | None = None,
    on_failure: Callable[[], None] | None = None,
) -> Ended:
    """Run `body(attempt)` until it succeeds, fails for good, or should be tried again only after `LONGEST_WAIT`.

    `first_began_at`: when attempt 1 began, if that was not here. `pulse` hears the body's beats, until the caller ends it; `on_failure`
    hears of each failed attempt.
    Cancelling the caller cancels the body and nothing is decided; whatever else the body raises (`SystemExit` too) is a failed attempt.
    """
    strategy = retry or _NEVER
    pulse = pulse or BodyPulse()
    failed: tuple[Attempt, ...] = ()
    number = first
    began = first_began_at
    info: ErrorInfo | None = None
    while True:
        started = clock.now()
        began = started if began is None else began
        if info is not None and pulse.cancelled:
            return Ended(b"", info, NOT_BEGUN, failed)
        if limits.deadline_at is not None and started >= limits.deadline_at:
            return _over("its deadline had come before it could begin", "deadline", info, failed)
        if number > 1 and strategy.is_over(started - began):
            return _over("its retry strategy allows no attempt so late", "max_elapsed", info, failed)
        try:
            if limits == NO_LIMITS:
                pulse.begin(number, None)
                return Ended(await body(number), None, started, failed)
            return Ended(await _limited(limits, pulse, clock, body, number), None, started, failed)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:
            pulse.end()
            current = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and current is not None and current.cancelling():
                raise
            info = ErrorInfo.of(error)
            # A value of the wrong type is a fault of the code, which the next attempt would meet again; after the deadline there is none.
            final = isinstance(error, PayloadError | DefinitionError) or info.limit == "deadline" or pulse.cancelled
            now = clock.now()
            delay = None if final else strategy.next_delay(number, error, random.SystemRandom(), now - began)
        if on_failure is not None:
            on_failure()
        if delay is None:
            return Ended(b"", info, started, failed)
        failed = kept_attempts((*failed, Attempt(number, started, now, worker, info.brief())))
        if limits.deadline_at is not None and now + delay >= limits.deadline_at:
            return _over("its next attempt would begin after its deadline", "deadline", info, failed)
        number += 1
        if delay > LONGEST_WAIT:
            return Ended(b"", info, started, failed, delay)
        await asyncio.sleep(delay)


def _over(text: str, limit: str, cause: ErrorInfo | None, failed: tuple[Attempt, ...]) -> Ended:
    """No further attempt begins, for want of time."""
    error = ErrorInfo.of(TaskTimedOut(text, limit=limit))
    return Ended(b"", error if cause is None else msgspec.structs.replace(error, cause=cause.brief()), NOT_BEGUN, failed)


async def _limited(limits: AttemptLimits, pulse: BodyPulse, clock: Clock, body: Callable[[int], Awaitable[bytes]], number: int) -> bytes:
    """One attempt. Its time is over at whichever limit comes first."""
    loop = asyncio.get_running_loop()
    left = None if limits.deadline_at is None else limits.deadline_at - clock.now()
    until_deadline = left is not None and (limits.timeout is None or left < limits.timeout)
    whole = asyncio.timeout(left if until_deadline else limits.timeout)
    silence = asyncio.timeout(limits.heartbeat)

    def beaten() -> None:
        # A beat at the very moment in which its time is over comes too late.
        with contextlib.suppress(RuntimeError):
            silence.reschedule(loop.time() + (limits.heartbeat or 0.0))

    pulse.begin(number, beaten if limits.heartbeat is not None else None)
    try:
        async with whole, silence:
            return await body(number)
    except TimeoutError as error:
        if whole.expired() and until_deadline:
            raise TaskTimedOut("it was not over by its deadline", limit="deadline") from error
        if whole.expired():
            timeout = limits.timeout
            raise TaskTimedOut(f"the attempt took longer than {timeout:g} s", limit="timeout", timeout=timeout) from error
        if silence.expired():
            heartbeat = limits.heartbeat
            raise TaskTimedOut(f"the attempt gave no heartbeat for {heartbeat:g} s", limit="heartbeat", heartbeat=heartbeat) from error
        raise
