"""The pure run machine, the deterministic loop, and content-addressed replay."""

from aiki.journal.loop import DeterministicLoop
from aiki.journal.machine import Program, RunMachine
from aiki.journal.operation import Body, Operation, Outcome, StepId, StepOptions
from aiki.journal.state import (
    Alarm,
    Entry,
    OutAlarm,
    OutDispatch,
    PendingStep,
    RecordedStep,
    Retried,
    RunState,
    StepKind,
    Tick,
    Woken,
    decode_entries,
    decode_state,
    encode_entry,
    encode_state,
)
from aiki.journal.suspension import RunEvicted, Suspension

__all__ = [
    "Alarm",
    "Body",
    "DeterministicLoop",
    "Entry",
    "Operation",
    "OutAlarm",
    "OutDispatch",
    "Outcome",
    "PendingStep",
    "Program",
    "RecordedStep",
    "Retried",
    "RunEvicted",
    "RunMachine",
    "RunState",
    "StepId",
    "StepKind",
    "StepOptions",
    "Suspension",
    "Tick",
    "Woken",
    "decode_entries",
    "decode_state",
    "encode_entry",
    "encode_state",
]
