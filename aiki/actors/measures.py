"""How a worker's measurements get into the bucket: now and then, and never in anybody's way."""

import logging

from aiki.actors.tally import Tallies
from aiki.kv.measure_store import Kind, Measured, MeasureStore
from aiki.types.errors import AikiError, Conflict, OutcomeUnknown

__all__ = ["MEASURE_EVERY", "Measures"]

MEASURE_EVERY = 60.0
"""Seconds between two writes of what was measured."""

_log = logging.getLogger("aiki.actors")


class Measures:
    """Of one worker."""

    def __init__(self, tallies: Tallies, store: MeasureStore, began_at: float) -> None:
        self._tallies = tallies
        self._store = store
        self._last = began_at
        self._waiting: dict[tuple[Kind, str], Measured] = {}

    async def report(self, now: float) -> None:
        """Write what was seen since the last time. What cannot be written now waits; what may have been written is not written again."""
        for key, seen in self._tallies.take(now, max(now - self._last, 0.0)):
            if key in self._waiting:
                self._waiting[key].merge(seen)
            else:
                self._waiting[key] = seen
        self._last = now
        for key in list(self._waiting):
            seen = self._waiting.pop(key)
            try:
                await self._store.add(*key, seen)
            except OutcomeUnknown:
                continue
            except Conflict:
                self._waiting[key] = seen
            except AikiError as error:
                self._waiting[key] = seen
                _log.debug("what was measured of %s %r waits: %s", *key, error)
                return  # the server is away: the others need not find that out one by one
