"""For how long runs are kept: what is said where, and what is refused."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiki.sdk import Context, DefinitionError, Retention, workflow
from aiki.types.retention import DEFAULT_RETENTION, kept_for
from aiki.types.states import FINAL_STATES

OUTCOMES = sorted(FINAL_STATES)
KEPT = st.one_of(st.none(), st.just("worker"), st.integers(1, 10**9), st.timedeltas(timedelta(seconds=1), timedelta(days=30_000)))
RULES = st.fixed_dictionaries(dict.fromkeys(OUTCOMES, KEPT))


@given(RULES, RULES, st.sampled_from(OUTCOMES))
def test_the_first_rule_that_says_something_holds(own: dict[str, Any], workers: dict[str, Any], outcome: str) -> None:
    said = next((each for each in (own[outcome], workers[outcome]) if each != "worker"), DEFAULT_RETENTION)
    expected = said.total_seconds() if isinstance(said, timedelta) else said
    assert kept_for(outcome, Retention(**own), Retention(**workers)) == expected


def test_one_value_is_for_every_outcome() -> None:
    for value, expected in ((None, None), (60, 60.0), (timedelta(hours=1), 3600.0), ("worker", DEFAULT_RETENTION)):
        assert {kept_for(outcome, Retention.of(value, "retention")) for outcome in OUTCOMES} == {expected}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "bad", [0, 0.5, -1, float("nan"), float("inf"), "week", True, timedelta(milliseconds=999), timedelta(-1), 1e12, [1]]
)
def test_what_cannot_be_is_refused_when_it_is_declared(bad: Any) -> None:
    with pytest.raises(DefinitionError, match="retention of failed runs"):
        Retention(failed=bad)
    with pytest.raises(DefinitionError, match="retention of workflow 'kept'"):

        @workflow(name="kept", retention=bad)
        async def kept(ctx: Context) -> None: ...


def test_archive_is_yes_or_no_or_as_the_worker_says() -> None:
    with pytest.raises(DefinitionError, match="archive must be"):

        @workflow(name="kept", archive="yes")  # type: ignore[arg-type]
        async def kept(ctx: Context) -> None: ...
