"""Retry strategies: when a failed attempt is tried again, and how much later."""

import math
import random
from collections.abc import Sequence
from typing import Literal

import msgspec

from aiki.types.duration import LONGEST, Duration, seconds
from aiki.types.errors import AikiError, DefinitionError
from aiki.types.failure import type_name

__all__ = ["Retry", "RetryAfter"]

ExceptionTypes = type[BaseException] | Sequence[type[BaseException]]


class RetryAfter(AikiError):
    """Raised by a task (`raise Retry.after(30)`): this attempt failed, try again after that many seconds, whatever the strategy's delay.

    It still counts as an attempt. Field: `delay` (seconds).
    """

    code = "retry_after"


class Retry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A retry strategy. Make one with `never`, `fixed`, `linear`, `exponential`, `jittered` or `schedule`.

    `max_attempts` counts the first try. `retry_on` and `no_retry_on` hold the names of exception classes: an exception is tried again if it
    or one of its bases is in `retry_on` (or that is empty) and none is in `no_retry_on`. A crash of the worker is not a failed attempt: the
    work is delivered again, unless the strategy is `Retry.never(on_crash="fail")`. `max_elapsed` bounds all strategies in time: no
    attempt begins later than that after the first one began, so a delay that would go beyond it is not waited for.
    """

    kind: Literal["never", "fixed", "linear", "exponential", "jittered", "schedule"] = "never"
    max_attempts: int = 1
    base_delay: float = 0.0
    max_delay: float | None = None
    factor: float = 2.0
    delays: tuple[float, ...] = ()
    retry_on: tuple[str, ...] = ()
    no_retry_on: tuple[str, ...] = ()
    on_crash: Literal["retry", "fail"] = "retry"
    max_elapsed: float | None = None
    """Seconds after the beginning of the first attempt after which no other one begins."""

    @classmethod
    def never(cls, *, on_crash: Literal["retry", "fail"] = "retry") -> "Retry":
        """One attempt."""
        if on_crash not in ("retry", "fail"):
            raise DefinitionError(f'on_crash must be "retry" or "fail", not {on_crash!r}', what="on_crash")
        return cls(on_crash=on_crash)

    @classmethod
    def fixed(
        cls,
        *,
        max_attempts: int,
        delay: Duration,
        retry_on: ExceptionTypes = (),
        no_retry_on: ExceptionTypes = (),
        max_elapsed: Duration | None = None,
    ) -> "Retry":
        """The same delay each time."""
        return cls(
            kind="fixed",
            max_attempts=_attempts(max_attempts),
            base_delay=seconds(delay, "delay"),
            retry_on=_names(retry_on),
            no_retry_on=_names(no_retry_on),
            max_elapsed=_elapsed(max_elapsed),
        )

    @classmethod
    def linear(
        cls,
        *,
        max_attempts: int,
        base_delay: Duration,
        max_delay: Duration | None = None,
        retry_on: ExceptionTypes = (),
        no_retry_on: ExceptionTypes = (),
        max_elapsed: Duration | None = None,
    ) -> "Retry":
        """`base_delay` times the number of failed attempts."""
        return cls._growing("linear", max_attempts, base_delay, max_delay, 1.0, retry_on, no_retry_on, max_elapsed)

    @classmethod
    def exponential(
        cls,
        *,
        max_attempts: int,
        base_delay: Duration,
        max_delay: Duration | None = None,
        factor: float = 2.0,
        retry_on: ExceptionTypes = (),
        no_retry_on: ExceptionTypes = (),
        max_elapsed: Duration | None = None,
    ) -> "Retry":
        """`base_delay`, then `factor` times as long after each further failure."""
        return cls._growing("exponential", max_attempts, base_delay, max_delay, factor, retry_on, no_retry_on, max_elapsed)

    @classmethod
    def jittered(
        cls,
        *,
        max_attempts: int,
        base_delay: Duration,
        max_delay: Duration | None = None,
        factor: float = 2.0,
        retry_on: ExceptionTypes = (),
        no_retry_on: ExceptionTypes = (),
        max_elapsed: Duration | None = None,
    ) -> "Retry":
        """A random part (0 to 1) of the exponential delay, so that many failures do not come back at once."""
        return cls._growing("jittered", max_attempts, base_delay, max_delay, factor, retry_on, no_retry_on, max_elapsed)

    @classmethod
    def schedule(
        cls,
        delays: Sequence[Duration],
        *,
        retry_on: ExceptionTypes = (),
        no_retry_on: ExceptionTypes = (),
        max_elapsed: Duration | None = None,
    ) -> "Retry":
        """These delays, one after each failed attempt; `max_attempts` is their number plus one."""
        try:
            each = tuple(seconds(delay, "delay") for delay in delays)
        except TypeError as error:
            raise DefinitionError(f"a schedule takes a list of delays, not {delays!r}", what="delays") from error
        return cls(
            kind="schedule",
            max_attempts=len(each) + 1,
            delays=each,
            retry_on=_names(retry_on),
            no_retry_on=_names(no_retry_on),
            max_elapsed=_elapsed(max_elapsed),
        )

    @staticmethod
    def after(delay: Duration) -> RetryAfter:
        """An exception for a task to raise: try again after `delay`."""
        length = seconds(delay, "delay")
        return RetryAfter(f"try again after {length:g} s", delay=length)

    @classmethod
    def _growing(
        cls,
        kind: Literal["linear", "exponential", "jittered"],
        max_attempts: int,
        base_delay: Duration,
        max_delay: Duration | None,
        factor: float,
        retry_on: ExceptionTypes,
        no_retry_on: ExceptionTypes,
        max_elapsed: Duration | None,
    ) -> "Retry":
        if not _is_factor(factor):
            raise DefinitionError(f"factor must be a number of at least 1, not {factor!r}", what="factor")
        return cls(
            kind=kind,
            max_attempts=_attempts(max_attempts),
            base_delay=seconds(base_delay, "base_delay"),
            max_delay=None if max_delay is None else seconds(max_delay, "max_delay"),
            factor=float(factor),
            retry_on=_names(retry_on),
            no_retry_on=_names(no_retry_on),
            max_elapsed=_elapsed(max_elapsed),
        )

    def next_delay(self, failed: int, error: BaseException, chance: random.Random, elapsed: float = 0.0) -> float | None:
        """Seconds until the next attempt after `failed` attempts (1 or more), the last of which raised `error`; None: give up.

        `elapsed`: seconds since the first of them began.
        """
        if failed >= self.max_attempts or not self.retries(error):
            return None
        delay = self._delay(failed, error, chance)
        return None if delay is None or self.is_over(elapsed + delay) else delay

    def is_over(self, elapsed: float) -> bool:
        """Whether no attempt may begin any more, so many seconds after the first one began."""
        return self.max_elapsed is not None and elapsed > self.max_elapsed

    def _delay(self, failed: int, error: BaseException, chance: random.Random) -> float | None:
        if isinstance(error, RetryAfter) and "delay" in error.fields:
            return seconds(error.fields["delay"], "delay")
        if self.kind == "never":
            return None
        if self.kind == "schedule":
            return self.delays[failed - 1]
        if self.kind == "fixed":
            delay = self.base_delay
        elif self.kind == "linear":
            delay = self.base_delay * failed
        else:
            delay = self._power(failed)
        delay = min(delay, LONGEST if self.max_delay is None else self.max_delay)
        return delay * chance.random() if self.kind == "jittered" else delay

    def _power(self, failed: int) -> float:
        try:
            return min(float(self.base_delay * self.factor ** (failed - 1)), LONGEST)
        except OverflowError:
            return LONGEST

    def retries(self, error: BaseException) -> bool:
        """Whether an attempt that raised `error` may be followed by another."""
        if not self.retry_on and not self.no_retry_on:
            return True
        names = {type_name(kind) for kind in type(error).__mro__}
        if names.intersection(self.no_retry_on):
            return False
        return not self.retry_on or isinstance(error, RetryAfter) or bool(names.intersection(self.retry_on))


def _attempts(value: int) -> int:
    if type(value) is not int or value < 1:
        raise DefinitionError(f"max_attempts counts the first try, so it must be at least 1, not {value!r}", what="max_attempts")
    return value


def _elapsed(value: Duration | None) -> float | None:
    return None if value is None else seconds(value, "max_elapsed", least=0.001)


def _is_factor(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 1


def _is_exception_class(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException)


def _names(kinds: ExceptionTypes) -> tuple[str, ...]:
    try:
        each = (kinds,) if isinstance(kinds, type) else tuple(kinds)
    except TypeError:
        each = (kinds,)  # type: ignore[assignment]
    for kind in each:
        if not _is_exception_class(kind):
            raise DefinitionError(f"retry_on and no_retry_on take exception classes, not {kind!r}", what="retry_on")
    return tuple(type_name(kind) for kind in each)
