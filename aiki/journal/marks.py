"""Marks of one run: places that its code has come by, and may have to know of later."""

from aiki.journal.record import Record
from aiki.journal.state import Marked

__all__ = ["Marks"]


class Marks:
    """What the journal tells is set by the machine while it reads it: `here` in the present attempt, `before` in earlier ones."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._denied: set[str] = set()
        self.here: set[str] = set()
        self.before: set[str] = set()
        self.lasting: set[str] = set()
        """Those that hold for the whole run, also where it continues as new."""

    def end_attempt(self) -> None:
        """Those that follow belong to another attempt of the workflow."""
        self.before |= self.here
        self.here = set()

    def add(self, id: str, now: float) -> None:
        """The code comes by here, perhaps once more."""
        if id not in self.here:
            self.here.add(id)
            self._record.append(Marked(now, id))

    def patched(self, id: str, now: float, *, replaying: bool) -> bool:
        """Whether the code that follows is new to this run: it came here before the change otherwise, and goes the old way for good."""
        if id in self.here or id in self.before:
            return True
        if replaying or id in self._denied:
            self._denied.add(id)
            return False
        self.add(id, now)
        return True
