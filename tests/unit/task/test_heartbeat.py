"""What a body may say and hear through its context, without an engine, and limits that cannot be kept."""

from datetime import timedelta
from typing import Any

import pytest

from aiki.sdk import DefinitionError, PayloadError, PayloadTooLarge, Retry, TaskContext, task
from aiki.types.identifiers import RunId


def context(**options: Any) -> TaskContext:
    return TaskContext(task="ship", attempt=1, run_id=RunId("r"), idempotency_key="k", **options)


def test_a_context_of_a_unit_test_hears_itself() -> None:
    call = context()
    assert (call.last_heartbeat, call.cancelled) == (None, False)
    call.heartbeat({"done": 3})
    assert call.last_heartbeat == {"done": 3}
    call.heartbeat()
    assert call.last_heartbeat == {"done": 3}, "only a sign of life"
    assert context(last_heartbeat=[1]).last_heartbeat == [1]


def test_details_are_plain_json_of_a_reasonable_size() -> None:
    call = context()
    with pytest.raises(PayloadError, match="details of a heartbeat"):
        call.heartbeat(object())
    with pytest.raises(PayloadTooLarge, match="over 16384") as caught:
        call.heartbeat("x" * 20_000)
    assert caught.value.size == 20_002
    assert call.last_heartbeat is None


async def body(number: int) -> int:
    return number


@pytest.mark.parametrize("limit", ["deadline", "start_timeout", "heartbeat"])
@pytest.mark.parametrize("value", [0, -1, "5 s", True, float("nan"), timedelta(seconds=-1), 1e12])
def test_bad_limits_are_refused(limit: str, value: Any) -> None:
    with pytest.raises(DefinitionError, match=f"{limit} of task 'body'"):
        task(**{limit: value})(body)


def test_a_heartbeat_longer_than_the_timeout_is_refused() -> None:
    with pytest.raises(DefinitionError, match="of no use"):
        task(timeout=5, heartbeat=6)(body)
    assert task(timeout=5, heartbeat=timedelta(seconds=5))(body).heartbeat == 5


def test_bad_ways_to_cancel_and_bad_caps_are_refused() -> None:
    with pytest.raises(DefinitionError, match="on_cancel"):
        task(on_cancel="kill")(body)  # type: ignore[arg-type]
    for value in (0, -1, "1 h", float("inf")):
        with pytest.raises(DefinitionError, match="max_elapsed"):
            Retry.fixed(max_attempts=2, delay=1, max_elapsed=value)  # type: ignore[arg-type]
