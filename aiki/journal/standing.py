"""What a run that is not final is doing, in a word."""

from collections.abc import Iterable

from aiki.journal.state import PendingStep, RunState
from aiki.types.states import State

__all__ = ["standing"]


def standing(state: RunState, steps: Iterable[PendingStep], *, sleeps: bool) -> State:
    """The state to show; `steps` are those without an outcome, `sleeps`: a timer of the code is set."""
    if state.paused is not None:
        return "paused"
    if state.begins_at is not None:
        return "queued" if state.line is not None and state.line.waits else "scheduled"
    if state.retry_at is not None:
        return "awaiting_retry"
    retries = children = False
    for step in steps:
        if step.due is not None:
            retries = True
        elif step.kind == "child":
            children = True
        elif step.kind == "task":
            return "awaiting_task"
        else:
            return "running"
    if children:
        return "awaiting_child"
    if state.waits:
        return "awaiting_event"
    if retries:
        return "awaiting_retry"
    return "sleeping" if sleeps else "running"
