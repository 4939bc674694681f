"""How one step of a saga is undone."""

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import msgspec

__all__ = ["MARK", "Done", "Mark", "argument_of"]

MARK = "saga undo"
"""The name of the step that records what is going to be undone."""


class Done(NamedTuple):
    """What a saga has to undo. `id` identifies the step within the run, in all its attempts; `completed`: its outcome is known."""

    id: str
    name: str
    completed: bool
    undo: Callable[[], Awaitable[Any]]
    by_hand: bool = False


class Mark(msgspec.Struct, frozen=True):
    """Recorded before anything is undone. `steps`: ids, and whether each had completed."""

    attempt: int
    steps: dict[str, bool]


def argument_of(step: Any, undo: Any, payload: Any, result: Any, *, completed: bool) -> Any:
    """What a task or workflow is given to undo a step: the step's payload, or its result.

    The result, unless there is none, or `undo` takes what the step takes and not what it returns.
    """
    if not completed:
        return payload
    wanted = undo.input_schema.json_schema()
    takes_payload = wanted == step.input_schema.json_schema() and wanted != step.output_schema.json_schema()
    return payload if takes_payload else result
