"""The limits of one run: how long an attempt may take, all attempts together, and the clean-up after a cancellation."""

from aiki.journal.state import RunState
from aiki.types.errors import WorkflowTimedOut

__all__ = ["CLEANUP", "RunLimits"]

CLEANUP = 300.0
"""Seconds that cancelled code has by default to clean up."""


class RunLimits:
    """In seconds; None: no limit. `began` is when the present attempt did."""

    def __init__(self, state: RunState, timeout: float | None, deadline: float | None, cleanup: float) -> None:
        self.began = state.started_at
        self._state = state
        self._timeout = timeout
        self._deadline = deadline
        self._last = None if deadline is None or state.begins_at is not None else state.started_at + deadline
        self._cleanup = cleanup
        self.bounded = timeout is not None or self._last is not None
        """Whether anything can be over, but for a clean-up."""

    def begin_anew(self, at: float) -> None:
        """The run was taken back: all limits count from now."""
        self.began = at
        if self._deadline is not None:
            self._last = at + self._deadline

    def next(self) -> float | None:
        """The instant at which the earliest of them is over."""
        state = self._state
        if state.cancelled is not None:
            return state.cancelled.at + self._cleanup
        if self._timeout is None or state.retry_at is not None or state.begins_at is not None:
            return self._last
        attempt = self.began + self._timeout
        return attempt if self._last is None or attempt < self._last else self._last

    def cleanup_over(self, now: float) -> bool:
        """Whether cancelled code has had its time."""
        cancelled = self._state.cancelled
        return cancelled is not None and cancelled.at + self._cleanup <= now

    def run_over(self, now: float) -> WorkflowTimedOut | None:
        """What ends the run."""
        if self._last is None or now < self._last:
            return None
        return WorkflowTimedOut(f"the run took longer than {self._deadline:g} s")

    def attempt_over(self, now: float) -> WorkflowTimedOut | None:
        """What ends the present attempt."""
        if self._timeout is None or now < self.began + self._timeout:
            return None
        return WorkflowTimedOut(f"attempt {self._state.attempt} took longer than {self._timeout:g} s")
