"""Retry strategies and durations."""

import copy
import math
import pickle
import random
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiki.types.duration import LONGEST, seconds
from aiki.types.errors import AikiError, DefinitionError
from aiki.types.retry import Retry, RetryAfter

CHANCE = random.Random(1)


def delays(retry: Retry, error: BaseException | None = None) -> list[float]:
    """All delays of a strategy, until it gives up."""
    found: list[float] = []
    for failed in range(1, 1000):
        delay = retry.next_delay(failed, error or ValueError(), CHANCE)
        if delay is None:
            return found
        found.append(delay)
    raise AssertionError("it never gives up")


@pytest.mark.parametrize(
    ("retry", "expected"),
    [
        (Retry.never(), []),
        (Retry.fixed(max_attempts=1, delay=5), []),
        (Retry.fixed(max_attempts=3, delay=5), [5, 5]),
        (Retry.fixed(max_attempts=2, delay=timedelta(minutes=1)), [60]),
        (Retry.linear(max_attempts=4, base_delay=2), [2, 4, 6]),
        (Retry.linear(max_attempts=4, base_delay=2, max_delay=3), [2, 3, 3]),
        (Retry.exponential(max_attempts=5, base_delay=1), [1, 2, 4, 8]),
        (Retry.exponential(max_attempts=5, base_delay=1, factor=3, max_delay=10), [1, 3, 9, 10]),
        (Retry.schedule([1, 10, timedelta(hours=1)]), [1, 10, 3600]),
        (Retry.schedule([]), []),
    ],
)
def test_delays(retry: Retry, expected: list[float]) -> None:
    assert delays(retry) == expected
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(retry), type=Retry) == retry


@given(st.integers(1, 30), st.floats(0, 1e6), st.floats(0, 1e6), st.floats(1, 10))
def test_jitter_is_a_part_of_the_exponential_delay(attempts: int, base: float, most: float, factor: float) -> None:
    jittered = Retry.jittered(max_attempts=attempts, base_delay=base, max_delay=most, factor=factor)
    plain = Retry.exponential(max_attempts=attempts, base_delay=base, max_delay=most, factor=factor)
    assert all(0 <= delay <= limit <= most for delay, limit in zip(delays(jittered), delays(plain), strict=True))


def test_jitter_varies() -> None:
    assert len(set(delays(Retry.jittered(max_attempts=20, base_delay=1, factor=1)))) == 19


@pytest.mark.parametrize(
    "retry",
    [
        Retry.exponential(max_attempts=999, base_delay=1e9),
        Retry.exponential(max_attempts=999, base_delay=1e9, factor=1e300),
        Retry.linear(max_attempts=999, base_delay=3e9),
        Retry.jittered(max_attempts=999, base_delay=3e9),
    ],
)
def test_no_delay_is_longer_than_a_timer_can_be(retry: Retry) -> None:
    assert all(math.isfinite(delay) and 0 <= delay <= LONGEST for delay in delays(retry))


class Mine(ValueError):
    pass


@pytest.mark.parametrize(
    ("on", "not_on", "error", "again"),
    [
        ((), (), KeyError(), True),
        ((ValueError,), (), ValueError(), True),
        ((ValueError,), (), Mine(), True),
        ((Mine,), (), ValueError(), False),
        ((ValueError,), (), KeyError(), False),
        ((), (ValueError,), Mine(), False),
        ((), (ValueError,), KeyError(), True),
        ((ValueError,), (Mine,), Mine(), False),
        ((ValueError,), (Mine,), ValueError(), True),
        ((KeyError, ValueError), (), Mine(), True),
        ((KeyError,), (), Retry.after(1), True),
        ((), (AikiError,), Retry.after(1), False),
        ((Exception,), (), SystemExit(), False),
        ((BaseException,), (), SystemExit(), True),
    ],
)
def test_which_errors_are_tried_again(on: Any, not_on: Any, error: BaseException, again: bool) -> None:
    retry = Retry.fixed(max_attempts=2, delay=1, retry_on=on, no_retry_on=not_on)
    assert retry.retries(error) is again
    assert bool(delays(retry, error)) is again


def test_one_class_needs_no_tuple() -> None:
    assert Retry.fixed(max_attempts=2, delay=1, retry_on=ValueError).retry_on == ("ValueError",)


def test_retry_after_overrides_the_delay_and_counts_as_an_attempt() -> None:
    assert delays(Retry.fixed(max_attempts=3, delay=1), Retry.after(timedelta(minutes=1))) == [60, 60]
    assert delays(Retry.never(), Retry.after(5)) == []


def test_a_retry_after_that_was_made_by_hand_takes_the_strategy_s_delay() -> None:
    assert delays(Retry.fixed(max_attempts=2, delay=7), RetryAfter("later")) == [7]


@pytest.mark.parametrize("make", [pickle.loads, None])
def test_a_retry_after_travels(make: Any) -> None:
    error = Retry.after(5)
    again = copy.copy(error) if make is None else make(pickle.dumps(error))
    assert delays(Retry.fixed(max_attempts=2, delay=1), again) == [5]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Retry.fixed(max_attempts=0, delay=1),
        lambda: Retry.fixed(max_attempts=True, delay=1),
        lambda: Retry.fixed(max_attempts=2.5, delay=1),  # type: ignore[arg-type]
        lambda: Retry.fixed(max_attempts=2, delay=-1),
        lambda: Retry.fixed(max_attempts=2, delay="1"),  # type: ignore[arg-type]
        lambda: Retry.fixed(max_attempts=2, delay=math.nan),
        lambda: Retry.fixed(max_attempts=2, delay=math.inf),
        lambda: Retry.exponential(max_attempts=2, base_delay=1, factor=0.5),
        lambda: Retry.exponential(max_attempts=2, base_delay=1, factor=math.nan),
        lambda: Retry.exponential(max_attempts=2, base_delay=0, factor=math.inf),
        lambda: Retry.exponential(max_attempts=2, base_delay=1, factor="2"),  # type: ignore[arg-type]
        lambda: Retry.linear(max_attempts=2, base_delay=1, max_delay=-1),
        lambda: Retry.schedule([1, -1]),
        lambda: Retry.fixed(max_attempts=2, delay=1, retry_on="ValueError"),  # type: ignore[arg-type]
        lambda: Retry.fixed(max_attempts=2, delay=1, retry_on=[ValueError()]),  # type: ignore[list-item]
        lambda: Retry.after(-1),
        lambda: seconds(timedelta(days=-1), "x"),
        lambda: seconds(True, "x"),
        lambda: seconds(4e9, "x"),
    ],
)
def test_what_makes_no_sense_is_refused(make: Any) -> None:
    with pytest.raises(DefinitionError):
        make()
