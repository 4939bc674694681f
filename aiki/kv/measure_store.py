"""What all workers together have measured of tasks and workflows, a day at a time, in the bucket of the workers.

Keys: `measured.<kind>.<name>.<day>`. Each worker adds what it has seen by compare-and-set, so that there are as many entries as names and
days, however many workers there are; they expire after two weeks.
"""

import asyncio
import time
from typing import Literal

import msgspec

from aiki.transport.port import Transport
from aiki.types.errors import Conflict
from aiki.types.names import from_token, to_token
from aiki.types.sketch import Sketch
from aiki.types.subjects import Subjects

__all__ = ["ErrorCount", "Kind", "MeasureStore", "Measured", "TaskSettings"]

Kind = Literal["task", "workflow"]

KEPT_FOR = 14 * 86_400.0
TRIES = 5
MOST_ERRORS = 40


class ErrorCount(msgspec.Struct, array_like=True, omit_defaults=True):
    """Of one type of error: attempts that `failed` with it, those that the same delivery `retried`, and those of them that `recovered`."""

    failed: int = 0
    retried: int = 0
    recovered: int = 0

    def add(self, other: "ErrorCount") -> None:
        """Take up what another has seen."""
        self.failed += other.failed
        self.retried += other.retried
        self.recovered += other.recovered


class TaskSettings(msgspec.Struct, frozen=True, omit_defaults=True):
    """With what the task was called last."""

    timeout: float | None = None
    heartbeat: float | None = None
    max_attempts: int = 1
    no_retry_on: tuple[str, ...] = ()


class Measured(msgspec.Struct, omit_defaults=True):
    """`took`: attempts that succeeded (of a workflow: runs). `waited`: from dispatch to begin. `failed`: calls that failed for good.

    `attempts` and `succeeded` are by the number of the attempt, from the second on. `busiest` is the highest rate that one worker has seen
    between two reports, in calls a second. Instants are seconds since the epoch.
    """

    took: Sketch = msgspec.field(default_factory=Sketch)
    waited: Sketch = msgspec.field(default_factory=Sketch)
    failed: int = 0
    attempts: dict[int, int] = {}
    succeeded: dict[int, int] = {}
    errors: dict[str, ErrorCount] = {}
    busiest: float = 0.0
    settings: TaskSettings = TaskSettings()
    first_at: float = 0.0
    last_at: float = 0.0

    def merge(self, other: "Measured") -> None:
        """Take up what another has seen; its settings count if it has seen something later."""
        self.took.merge(other.took)
        self.waited.merge(other.waited)
        self.failed += other.failed
        for mine, theirs in ((self.attempts, other.attempts), (self.succeeded, other.succeeded)):
            for number, count in theirs.items():
                mine[number] = mine.get(number, 0) + count
        for kind, errors in other.errors.items():
            self.errors.setdefault(kind if kind in self.errors or len(self.errors) < MOST_ERRORS else "other", ErrorCount()).add(errors)
        self.busiest = max(self.busiest, other.busiest)
        if other.last_at >= self.last_at:
            self.settings = other.settings
        self.first_at = min(self.first_at, other.first_at) if self.last_at else other.first_at
        self.last_at = max(self.last_at, other.last_at)


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Measured).decode


class MeasureStore:
    """The measurements of one region."""

    def __init__(self, transport: Transport, subjects: Subjects) -> None:
        self._transport = transport
        self._stream = subjects.workers_stream
        self._prefix = f"{subjects.workers_prefix}measured."

    async def add(self, kind: Kind, name: str, seen: Measured) -> None:
        """Add to the day's entry. `Conflict` when others were faster several times in a row: try again later.

        When the answer is lost (`OutcomeUnknown`), what was seen is in or not: it must not be added again.
        """
        key = f"{self._prefix}{kind}.{to_token(name)}.{time.strftime('%Y-%m-%d', time.gmtime(seen.last_at))}"
        for last in range(TRIES - 1, -1, -1):
            stored = await self._transport.last(self._stream, key)
            whole = Measured() if stored is None else _decode(stored.data)
            whole.merge(seen)
            try:
                await self._transport.publish(key, _encode(whole), expect=0 if stored is None else stored.sequence, ttl=KEPT_FOR)
                return
            except Conflict:
                if not last:
                    raise

    async def read(self, kind: Kind, name: str | None = None) -> dict[str, Measured]:
        """By name, all days together."""
        keys = await self._transport.subjects(self._stream, f"{self._prefix}{kind}.{'*' if name is None else to_token(name)}.*")
        found: dict[str, Measured] = {}
        for begin in range(0, len(keys), 64):
            some = keys[begin : begin + 64]
            for key, stored in zip(some, await asyncio.gather(*(self._transport.last(self._stream, key) for key in some)), strict=True):
                if stored is not None:
                    found.setdefault(from_token(key.removeprefix(self._prefix).split(".")[1]), Measured()).merge(_decode(stored.data))
        return found
