"""The record of one run: its state, what is appended to the journal, and what it owes to others."""

from aiki.journal.state import Entry, Outgoing, RunState, encode_entry

__all__ = ["Record"]


class Record:
    """What the parts of a run machine write to. `dirty`: the state differs from the one that was committed last."""

    __slots__ = ("dirty", "state")

    def __init__(self, state: RunState) -> None:
        self.state = state
        self.dirty = False

    def append(self, entry: Entry) -> int:
        """Record, and answer the entry's place in the journal, from 0 on."""
        state = self.state
        state.entries.append(encode_entry(entry))
        self.dirty = True
        return len(state.entries) - 1 + (state.sealed[-1] - state.base if state.sealed else 0)

    def owe(self, outgoing: Outgoing) -> None:
        """Something to send after the commit."""
        self.state.outbox.append(outgoing)
        self.dirty = True

    def next_serial(self) -> int:
        """A number that nothing else of this run has."""
        self.state.serial += 1
        return self.state.serial
