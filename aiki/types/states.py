"""The states of a run."""

from typing import Literal

__all__ = ["FINAL_STATES", "STATES", "State", "is_final"]

State = Literal[
    "scheduled",
    "queued",
    "running",
    "paused",
    "sleeping",
    "awaiting_event",
    "awaiting_task",
    "awaiting_retry",
    "awaiting_child",
    "stalled",
    "completed",
    "failed",
    "cancelled",
    "timed_out",
]

STATES: tuple[State, ...] = State.__args__  # type: ignore[attr-defined]
FINAL_STATES: frozenset[State] = frozenset(("completed", "failed", "cancelled", "timed_out"))


def is_final(state: str) -> bool:
    """Whether nothing will happen to the run any more."""
    return state in FINAL_STATES
