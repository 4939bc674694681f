"""The pulse of one body in the process that runs it: beats from its attempts, in the order of their numbers, from whatever thread."""

import asyncio
import contextlib
from collections.abc import Callable

__all__ = ["BodyPulse"]


class BodyPulse:
    """Made on the loop that runs the body. `details`: what an attempt elsewhere said last. See `aiki.types.pulse.Pulse`."""

    def __init__(self, details: bytes | None = None, *, on_details: Callable[[bytes], None] | None = None) -> None:
        self._details = details
        self._on_details = on_details
        self._on_beat: Callable[[], None] | None = None
        self._attempt: int | None = None
        self._cancelled = False
        self._loop = asyncio.get_running_loop()

    @property
    def details(self) -> bytes | None:
        return self._details

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for the step any more."""
        return self._cancelled

    def beat(self, attempt: int, details: bytes | None) -> None:
        if asyncio._get_running_loop() is self._loop:
            self._take(attempt, details)
        else:
            # A thread that outlives its loop beats for nobody.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._take, attempt, details)

    def is_over(self, attempt: int) -> bool:
        return self._cancelled or attempt != self._attempt

    def begin(self, attempt: int, on_beat: Callable[[], None] | None) -> None:
        """That attempt's beats count from now on; `on_beat` hears of each."""
        self._attempt = attempt
        self._on_beat = on_beat

    def end(self) -> None:
        """No attempt is under way: one that goes on in a thread has nothing to say any more."""
        self._attempt = self._on_beat = None

    def cancel(self) -> None:
        """Nobody waits for the step any more."""
        self._cancelled = True

    def _take(self, attempt: int, details: bytes | None) -> None:
        if attempt != self._attempt:
            return
        if self._on_beat is not None:
            self._on_beat()
        if details is not None and details != self._details:
            self._details = details
            if self._on_details is not None:
                self._on_details(details)
