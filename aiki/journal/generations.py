"""Generations of a run: code that continues as new begins again with a new input and an empty journal, as the same run.

What the last generation leaves: events that nobody took and updates that nobody answered, which the next one finds; sub-workflows whose
policies let them go on; and the ids of the messages that it had applied, since each may come once more.
"""

from collections.abc import Iterable

import msgspec

from aiki.journal.record import Record
from aiki.journal.state import (
    Continued,
    Entry,
    Marked,
    OutAlarm,
    OutDiscard,
    OutDispatch,
    RecordedStep,
    Retried,
    RunState,
    Tick,
    WasReset,
)

__all__ = ["MOST_KNOWN", "begin_generation", "discard_segments", "known_ids"]

MOST_KNOWN = 1000
"""Messages that are remembered, so that one that comes again counts once still: the newest."""


def begin_generation(
    record: Record, input: bytes, *, carried: Iterable[Entry], known: Iterable[str], marks: Iterable[str], now: float
) -> None:
    """Bring the state to where its next generation begins. The outstanding steps have been ended before."""
    state = record.state
    state.outbox = [owed for owed in state.outbox if not isinstance(owed, OutDispatch | OutAlarm)]
    discard_segments(state)
    state.input = input
    state.generation += 1
    state.attempt, state.error = 1, None
    state.alarms, state.waits = [], []
    kept = tuple(known)[-MOST_KNOWN:]
    record.append(Continued(now, kept, tuple(marks)))
    for entry in carried:
        record.append(msgspec.structs.replace(entry, at=now))


def discard_segments(state: RunState) -> None:
    """The journal that the state has is no more: what is sealed of it is to be deleted. The next one's places are counted on from here."""
    begin = state.base
    for end in state.sealed:
        state.serial += 1
        state.outbox.append(OutDiscard(state.serial, begin, end))
        begin = end
    state.base, state.sealed, state.entries = begin + len(state.entries), [], []


def known_ids(journal: Iterable[Entry]) -> dict[str, None]:
    """Of the messages that a journal says were applied, in that order."""
    known: dict[str, None] = {}
    for entry in journal:
        if isinstance(entry, Continued | WasReset):
            known |= dict.fromkeys(entry.known)
        if not isinstance(entry, RecordedStep | Tick | Marked | Continued) and (not isinstance(entry, Retried) or entry.id):
            known[entry.id] = None
    return known
