"""Which step of a run is meant, by its name."""

from collections.abc import Sequence

from aiki.client.views import StepView
from aiki.journal import Entry, RecordedStep
from aiki.types.errors import DefinitionError, StepNotFound

__all__ = ["find_step"]


def find_step(run_id: str, journal: Sequence[Entry], step: str | StepView, call: int) -> tuple[str, int]:
    """The address and ordinal of the `call`-th step (from 1 on, in the order in which they were issued) of that name. `StepNotFound`."""
    if type(call) is not int or call < 1:
        raise DefinitionError(f"calls of a step are counted from 1, not {call!r}", what="call")
    recorded = {(entry.address, entry.ordinal): entry for entry in journal if isinstance(entry, RecordedStep)}
    if isinstance(step, StepView):
        if (step.address, step.ordinal) in recorded:
            return step.address, step.ordinal
        raise _missing(run_id, step.name, recorded.values())
    if not isinstance(step, str):
        raise DefinitionError(f"a step is named, or taken from `describe().steps`; it is not {step!r}", what="to_step")
    calls = sorted((entry for entry in recorded.values() if entry.name == step), key=lambda entry: entry.issued_at)
    if len(calls) < call:
        raise _missing(run_id, step if call == 1 else f"{step}, call {call}", recorded.values())
    return calls[call - 1].address, calls[call - 1].ordinal


def _missing(run_id: str, step: str, recorded: "Sequence[RecordedStep] | object") -> StepNotFound:
    known = sorted({entry.name for entry in recorded if isinstance(entry, RecordedStep)}) if hasattr(recorded, "__iter__") else []
    there_are = ", ".join(known) or "none"
    return StepNotFound(f"run {run_id} has no step {step!r} that has ended; there are: {there_are}", run_id=run_id, step=step, known=known)
