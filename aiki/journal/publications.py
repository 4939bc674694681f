"""What one run's code has told those who watch it."""

from aiki.journal.record import Record
from aiki.journal.state import Published

__all__ = ["Publications"]

MOST_KEPT = 100
"""Publications kept of one commit; of more, the newest."""


class Publications:
    """Counts what the code publishes, so that replayed code publishes nothing again."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._count = record.state.published_before
        self._fresh = False

    def add(self, data: bytes, now: float) -> None:
        """Publish, with the next commit."""
        state = self._record.state
        self._count += 1
        if self._count <= (state.published[-1].number if state.published else 0):
            return
        kept = state.published[-(MOST_KEPT - 1) :] if self._fresh else []
        state.published = [*kept, Published(self._count, now, data)]
        self._fresh = self._record.dirty = True

    def skip_to(self, number: int) -> None:
        """What the code publishes from here on comes after that many."""
        self._count = max(self._count, number)

    def committed(self) -> None:
        """What comes now belongs to another commit."""
        self._fresh = False

    def end_attempt(self) -> None:
        """The next attempt of the workflow goes on counting here."""
        state = self._record.state
        state.published_before = max(self._count, state.published_before)
