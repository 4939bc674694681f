"""Runs that go back to a step of theirs, and runs that begin with the journal of another one up to there.

The journal before the step is replayed as it stands, with its instants: sleeps that are over stay over. But the code need not call again
what is recorded there, for it may have been mended since: what it calls is found, what it does not call any more means nothing.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from aiki.journal.generations import discard_segments, known_ids
from aiki.journal.state import (
    CancelAsked,
    Entry,
    OutAlarm,
    OutDispatch,
    Received,
    RecordedStep,
    Retried,
    RunState,
    Updated,
    WasReset,
    come_again,
)
from aiki.types.messages import Reset
from aiki.types.states import is_final

__all__ = ["NewJournal", "forked", "place_of", "reset"]


class NewJournal(NamedTuple):
    """`before` the step, which was committed once already; `after` is new."""

    before: Sequence[Entry]
    after: Sequence[Entry]


def place_of(journal: Sequence[Entry], address: str, ordinal: int) -> int | None:
    """Where the journal says how the step ended: the last time, if several attempts of the workflow have called it."""
    for place in range(len(journal) - 1, -1, -1):
        entry = journal[place]
        if isinstance(entry, RecordedStep) and (entry.address, entry.ordinal) == (address, ordinal):
            return place
    return None


def reset(state: RunState, journal: Sequence[Entry], word: Reset, now: float) -> NewJournal | None:
    """Take a run back to before the step ended that `word` names; None when it was done before, or there is no such step.

    The state is changed in place, but for its entries. What was outstanding has been ended; events and updates that came later are kept.
    """
    place = place_of(journal, word.address, word.ordinal)
    if place is None or word.id in known_ids(journal):
        return None
    before, rest = journal[:place], journal[place:]
    carried = [entry for entry in rest if isinstance(entry, Received | Updated)]
    kept = {entry.id for entry in carried}
    known = tuple(id for id in known_ids(rest) if id not in kept)
    told = state.published[-1].number if state.published else 0
    entry = WasReset(now, word.id, word.address, word.ordinal, word.reason, known, told)
    state.outbox = [owed for owed in state.outbox if not isinstance(owed, OutDispatch | OutAlarm)]
    if is_final(state.status):
        come_again(state)
    discard_segments(state)
    for step in state.pending:
        step.left = True
    state.status, state.result, state.error, state.finished_at = "running", None, None, None
    state.retry_at, state.begins_at, state.paused, state.held = None, None, None, None
    state.alarms, state.waits = [], []
    state.archival = None  # its next end is archived anew
    state.attempt, state.cancelled = _standing(before)
    state.resets += 1
    return NewJournal(before, [entry, *(msgspec.structs.replace(each, at=now) for each in carried)])


def forked(state: RunState, source: RunState, journal: Sequence[Entry], place: int | None, now: float) -> NewJournal:
    """Let a new run begin with the journal of another one: up to `place`, or (None) the whole of it. The state is changed in place."""
    before = journal[:place]
    state.origin, state.salt = source.origin or source.run_id, source.salt
    state.generation, state.resets = source.generation, source.resets + 1
    state.started_at = source.started_at
    state.attempt, state.cancelled = _standing(before)
    return NewJournal(before, [WasReset(now, f"fork/{state.run_id}", reason=f"forked from run {source.run_id}")])


def _standing(before: Iterable[Entry]) -> tuple[int, CancelAsked | None]:
    """The attempt of the workflow that had begun, and whether it was being cancelled."""
    attempt, cancelled = 1, None
    for entry in before:
        if isinstance(entry, Retried):
            attempt, cancelled = attempt + 1, None
        elif isinstance(entry, CancelAsked):
            cancelled = entry
    return attempt, cancelled
