"""Requests whose outcome must be known: repeated, with a growing pause, for as long as no answer comes."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, NamedTuple, TypeVar

from aiki.types.errors import OutcomeUnknown, RequestTimeout

__all__ = ["PAUSE_FIRST", "Sure", "surely"]

Answer = TypeVar("Answer")

PAUSE_FIRST, PAUSE_MOST = 0.05, 2.0


class Sure(NamedTuple, Generic[Answer]):
    """The answer, and whether it took more than one call: an earlier one may have had its effect too."""

    answer: Answer
    repeated: bool


async def surely(request: Callable[[], Awaitable[Answer]], *, within: float | None = None) -> Sure[Answer]:
    """Call `request`, which must be harmless to repeat (a read; a write with a message id or a fence), until its outcome is known.

    `within`: seconds after which what is unknown is raised after all; None: however long NATS is away. Other errors are raised at once.
    """
    limit = None if within is None else time.monotonic() + within
    pause, repeated = PAUSE_FIRST, False
    while True:
        try:
            return Sure(await request(), repeated)
        except (OutcomeUnknown, RequestTimeout):
            if limit is not None and time.monotonic() > limit:
                raise
        repeated = True
        await asyncio.sleep(pause)
        pause = min(pause * 2, PAUSE_MOST)
