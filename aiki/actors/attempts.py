"""Attempts of a body: run it, time it, try it again after short delays; long ones are for a durable timer."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from aiki.clock import Clock
from aiki.types.errors import DefinitionError, PayloadError, TaskTimedOut, WorkerLost
from aiki.types.failure import ErrorInfo
from aiki.types.messages import Attempt, kept_attempts
from aiki.types.retry import Retry

__all__ = ["LONGEST_WAIT", "Ended", "lost", "run_attempts", "step_key"]

LONGEST_WAIT = 1.0
"""Seconds that whoever runs a body waits for its next attempt; longer delays are recorded and survive the process."""

_NEVER = Retry.never()


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
    retry: Retry | None = None,
    timeout: float | None = None,
) -> Ended:
    """Run `body(attempt)` until it succeeds, fails for good, or should be tried again only after `LONGEST_WAIT`.

    Cancelling the caller cancels the body and nothing is decided; whatever else the body raises (`SystemExit` too) is a failed attempt.
    """
    strategy = retry or _NEVER
    failed: tuple[Attempt, ...] = ()
    number = first
    while True:
        started = clock.now()
        try:
            if timeout is None:
                value = await body(number)
            else:
                value = await _within(timeout, body, number)
            return Ended(value, None, started, failed)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:
            current = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and current is not None and current.cancelling():
                raise
            info = ErrorInfo.of(error)
            # A value of the wrong type is a fault of the code: the next attempt would meet it again.
            fault = isinstance(error, PayloadError | DefinitionError)
            delay = None if fault else strategy.next_delay(number, error, random.SystemRandom())
        if delay is None:
            return Ended(b"", info, started, failed)
        failed = kept_attempts((*failed, Attempt(number, started, clock.now(), worker, info.brief())))
        number += 1
        if delay > LONGEST_WAIT:
            return Ended(b"", info, started, failed, delay)
        await asyncio.sleep(delay)


async def _within(timeout: float, body: Callable[[int], Awaitable[bytes]], number: int) -> bytes:
    limit = asyncio.timeout(timeout)
    try:
        async with limit:
            return await body(number)
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise TaskTimedOut(f"the attempt took longer than {timeout:g} s", timeout=timeout) from error
