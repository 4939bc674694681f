"""Where a task's body asks for its context."""

import pytest

from aiki.sdk import DefinitionError, TaskContext, task


async def alone(call: TaskContext) -> int:
    return call.attempt


async def alone_as_text(call: "TaskContext") -> int:
    return call.attempt


@pytest.mark.parametrize("function", [alone, alone_as_text])
def test_a_context_without_a_payload_is_refused_where_it_is_declared(function: object) -> None:
    with pytest.raises(DefinitionError, match="TaskContext comes second"):
        task()(function)  # type: ignore[call-overload]


def test_a_context_after_the_payload_is_fine() -> None:
    @task()
    async def both(payload: int, call: TaskContext) -> int:
        return payload + call.attempt

    assert both.name == "both"
