"""When a step's time is over, and how it ends then."""

import msgspec

from aiki.journal.state import PendingStep
from aiki.types.errors import TaskTimedOut
from aiki.types.failure import ErrorInfo
from aiki.types.messages import NOT_BEGUN, StepResult

__all__ = ["limit_of", "next_instant", "timed_out"]


def limit_of(step: PendingStep) -> float | None:
    """The instant at which a step's time is over; None: it may take for ever."""
    if step.start_by is None or step.deadline_at is None:
        return step.deadline_at if step.start_by is None else step.start_by
    return min(step.start_by, step.deadline_at)


def next_instant(step: PendingStep) -> float | None:
    """The instant at which the run has something to do about a step, if nothing is heard of it."""
    limit = limit_of(step)
    if step.kind == "local" and step.due is not None and (limit is None or step.due < limit):
        return step.due
    return limit


def timed_out(step: PendingStep) -> StepResult:
    """The failure of a step whose time is over. What its last attempt had failed with is the cause."""
    waits = True
    if step.deadline_at is None or (step.start_by is not None and step.start_by < step.deadline_at):
        error = TaskTimedOut(f"no worker began it within {step.start_timeout:g} s", limit="start_timeout")
    else:
        waits = step.due is not None and step.due >= step.deadline_at
        text = "its next attempt would begin after its deadline" if waits else "it was not over by its deadline"
        error = TaskTimedOut(text, limit="deadline")
    info = ErrorInfo.of(error)
    if step.failed:
        info = msgspec.structs.replace(info, cause=step.failed[-1].error)
    return StepResult(step.address, step.ordinal, step.serial, b"", info, NOT_BEGUN if waits else step.issued_at, 0.0, "")
