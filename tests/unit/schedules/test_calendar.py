"""When schedules fire: fields, bounds, both edges of daylight saving time, jitter."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiki.schedules import between, count, following, upcoming
from aiki.schedules.calendar import due
from aiki.sdk import Schedule
from aiki.types.errors import InvalidSchedule


def at(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def fired(schedule: Schedule, since: str, number: int, zone: str = "UTC") -> list[str]:
    instants = upcoming(schedule, datetime.fromisoformat(since).replace(tzinfo=ZoneInfo(zone)).timestamp(), number)
    return [datetime.fromtimestamp(each, ZoneInfo(zone)).isoformat(timespec="seconds") for each in instants]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("*/15 * * * *", ["2026-01-01T00:15:00+00:00", "2026-01-01T00:30:00+00:00"]),
        ("0 9 * * mon", ["2026-01-05T09:00:00+00:00", "2026-01-12T09:00:00+00:00"]),
        ("0 0 1 feb *", ["2026-02-01T00:00:00+00:00", "2027-02-01T00:00:00+00:00"]),
        ("@daily", ["2026-01-02T00:00:00+00:00", "2026-01-03T00:00:00+00:00"]),
        ("* * * * * */20", ["2026-01-01T00:00:20+00:00", "2026-01-01T00:00:40+00:00"]),
        ("0 0 L * *", ["2026-01-31T00:00:00+00:00", "2026-02-28T00:00:00+00:00"]),
        ("0 0 29 2 *", ["2028-02-29T00:00:00+00:00", "2032-02-29T00:00:00+00:00"]),
    ],
)
def test_fields(expression: str, expected: list[str]) -> None:
    assert fired(Schedule.cron(expression), "2026-01-01T00:00:00", 2) == expected


NEW_YORK = "America/New_York"
"""2026: forward on 8 March, 02:00 becomes 03:00; back on 1 November, 02:00 becomes 01:00."""


def test_a_skipped_time_fires_once_right_after_the_gap() -> None:
    schedule = Schedule.cron("30 2 * * *", timezone=NEW_YORK)
    assert fired(schedule, "2026-03-07T00:00:00", 3, NEW_YORK) == [
        "2026-03-07T02:30:00-05:00",
        "2026-03-08T03:00:00-04:00",
        "2026-03-09T02:30:00-04:00",
    ]


def test_several_skipped_times_are_one_firing() -> None:
    schedule = Schedule.cron("*/20 2,3 * * *", timezone=NEW_YORK)
    assert fired(schedule, "2026-03-08T00:00:00", 4, NEW_YORK) == [
        "2026-03-08T03:00:00-04:00",
        "2026-03-08T03:20:00-04:00",
        "2026-03-08T03:40:00-04:00",
        "2026-03-09T02:00:00-04:00",
    ]


def test_a_repeated_time_fires_once_the_first_time() -> None:
    schedule = Schedule.cron("30 1 * * *", timezone=NEW_YORK)
    assert fired(schedule, "2026-10-31T12:00:00", 2, NEW_YORK) == ["2026-11-01T01:30:00-04:00", "2026-11-02T01:30:00-05:00"]
    between_the_passes = datetime(2026, 11, 1, 1, 10, tzinfo=ZoneInfo(NEW_YORK), fold=1).timestamp()
    assert following(schedule, between_the_passes) == at("2026-11-02T01:30:00", NEW_YORK)


@pytest.mark.parametrize("zone", [NEW_YORK, "Europe/Berlin", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Kathmandu"])
def test_every_quarter_is_every_quarter_all_year(zone: str) -> None:
    instants = list(between(Schedule.cron("*/15 * * * *", timezone=zone), at("2026-01-01T00:00:00"), at("2027-01-01T00:00:00")))
    assert {later - earlier for earlier, later in pairwise(instants)} == {900.0}


@pytest.mark.parametrize("zone", [NEW_YORK, "Europe/Berlin", "Australia/Lord_Howe", "America/Sao_Paulo"])
@pytest.mark.parametrize("hour", range(4))
def test_a_daily_firing_is_daily_all_year(zone: str, hour: int) -> None:
    schedule = Schedule.cron(f"30 {hour} * * *", timezone=zone)
    days = [datetime.fromtimestamp(each, ZoneInfo(zone)).date() for each in upcoming(schedule, at("2026-01-01T12:00:00"), 400)]
    assert {(later - earlier).days for earlier, later in pairwise(days)} == {1}


EXPRESSIONS = st.sampled_from(["* * * * *", "*/7 * * * *", "30 2 * * *", "0 */3 * * *", "15 1 * * sun", "0 0 1 * *", "10 * * 3,11 *"])
ZONES = st.sampled_from(["UTC", NEW_YORK, "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia"])
INSTANTS = st.floats(at("2011-12-25T00:00:00"), at("2030-01-01T00:00:00"))


@settings(deadline=None)
@given(EXPRESSIONS, ZONES, INSTANTS)
def test_firings_ascend_and_do_not_depend_on_where_one_begins(expression: str, zone: str, begin: float) -> None:
    schedule = Schedule.cron(expression, timezone=zone)
    instants = upcoming(schedule, begin, 5)
    assert begin < instants[0]
    assert instants == sorted(set(instants))
    for earlier, later in pairwise(instants):
        assert following(schedule, (earlier + later) / 2) == later
        assert following(schedule, earlier) == later


@given(st.floats(1, 1e7), INSTANTS, st.floats(0, 1e9))
def test_intervals_are_multiples_from_their_anchor(interval: float, begin: float, anchor: float) -> None:
    schedule = Schedule.every(interval, anchor=datetime.fromtimestamp(anchor, UTC))
    first, second = upcoming(schedule, begin, 2)
    assert list(between(schedule, first, second)) == [first, second]
    assert begin < first <= begin + interval + 1e-3
    assert second - first == pytest.approx(interval, abs=1e-4)
    assert following(schedule, first) == second


def test_bounds() -> None:
    begin, end = datetime(2026, 1, 1, 0, 10, tzinfo=UTC), datetime(2026, 1, 1, 0, 30, tzinfo=UTC)
    schedule = Schedule.every(timedelta(minutes=10), start=begin, end=end)
    assert upcoming(schedule, 0.0, 9) == [begin.timestamp() + 600 * number for number in range(3)]
    assert count(schedule, 0.0, 4e9) == (3, True)


def test_jitter_is_the_same_for_everybody_and_within_its_limit() -> None:
    schedule = Schedule.every(60, jitter=10)
    delays = [due(schedule, "a", planned) - planned for planned in upcoming(schedule, 0.0, 500)]
    assert 0 <= min(delays) < 1 < 9 < max(delays) < 10
    assert delays == [due(schedule, "a", planned) - planned for planned in upcoming(schedule, 0.0, 500)]
    assert due(schedule, "a", 60.0) != due(schedule, "b", 60.0)


@settings(deadline=None)
@given(EXPRESSIONS, INSTANTS, st.floats(0, 1e5))
def test_count_is_what_one_would_count(expression: str, since: float, length: float) -> None:
    schedule = Schedule.cron(expression)
    number, exact = count(schedule, since, since + length)
    if exact:
        assert number == len(list(between(schedule, since, since + length)))


def test_ten_years_of_seconds_are_counted_at_once() -> None:
    since, until = at("2020-01-01T00:00:00"), at("2030-01-01T00:00:00")
    number, exact = count(Schedule.cron("* * * * * *"), since, until)
    assert not exact
    assert number == pytest.approx(until - since, rel=0.01)
    assert count(Schedule.every(1), since, until) == (int(until - since) + 1, True)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Schedule.cron("0 0 30 2 *"), "never fires"),
        (lambda: Schedule.cron("0 0 * * * 0 2030"), "has 7 fields"),
        (lambda: Schedule.cron("* *"), "has 2 fields"),
        (lambda: Schedule.cron(""), "has 0 fields"),
        (lambda: Schedule.cron("61 * * * *"), "is wrong"),
        (lambda: Schedule.cron("@reboot"), "is wrong"),
        (lambda: Schedule.cron("R R * * *"), "is random"),
        (lambda: Schedule.cron("0 0 r(1-5) * *"), "is random"),
        (lambda: Schedule.cron("H H * * *"), "is random"),
        (lambda: Schedule.cron(5), "must be a string"),  # type: ignore[arg-type]
        (lambda: Schedule.cron("* * * * *", timezone="Mars/Olympus"), "no time zone 'Mars/Olympus'"),
        (lambda: Schedule.cron("* * * * *", timezone="../etc"), "no time zone"),
        (lambda: Schedule.every(0), "interval must be between"),
        (lambda: Schedule.every(-1), "interval must be between"),
        (lambda: Schedule.every(float("nan")), "interval must be"),
        (lambda: Schedule.every(1, catch_up=-1), "catch_up"),
        (lambda: Schedule.every(1, jitter=timedelta(seconds=-1)), "jitter"),
        (lambda: Schedule.every(1, overlap="maybe"), "overlap must be one of"),  # type: ignore[arg-type]
        (lambda: Schedule.every(1, max_firings=0), "max_firings"),
        (lambda: Schedule.every(1, start=datetime(2026, 1, 1)), "with a time zone"),
        (
            lambda: Schedule.every(1, start=datetime(2026, 1, 2, tzinfo=UTC), end=datetime(2026, 1, 1, tzinfo=UTC)),
            "end is before its start",
        ),
        (
            lambda: Schedule.cron("@yearly", start=datetime(2026, 1, 2, tzinfo=UTC), end=datetime(2026, 2, 1, tzinfo=UTC)),
            "never fires between its start and its end",
        ),
    ],
)
def test_bad_input(make: Any, reason: str) -> None:
    with pytest.raises(InvalidSchedule, match=reason) as caught:
        make()
    assert caught.value.code == "invalid_schedule"
