"""What one worker has seen of a task, or of a workflow, since it reported last.

Counting is on the path of every step, so it is an addition and an `append`. Of the durations between two reports at most `KEPT` are kept,
evenly spread.
"""

from collections import Counter

from aiki.actors.attempts import AttemptLimits, Ended
from aiki.kv.measure_store import ErrorCount, Kind, Measured, TaskSettings
from aiki.types.retry import Retry
from aiki.types.sketch import Sketch

__all__ = ["Tallies", "Tally"]

KEPT = 256
MOST_ATTEMPTS = 20
MOST_ERRORS = 20
OTHER = "other"
MOST_NAMES = 500


class _Durations:
    """The exact count, sum and maximum, and every so-manieth of the values."""

    __slots__ = ("_next", "_stride", "count", "longest", "total", "values")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.values: list[float] = []
        self.count = 0
        self.total = 0.0
        self.longest = 0.0
        self._stride = self._next = 1

    def add(self, value: float) -> None:
        self.count += 1
        self.total += value
        if value > self.longest:
            self.longest = value
        if self.count == self._next:
            self._next += self._stride
            self.values.append(value)
            if len(self.values) >= KEPT:
                del self.values[::2]
                self._stride *= 2

    def sketch(self) -> Sketch:
        sketch = Sketch(count=self.count, total=self.total, longest=self.longest, bins={})
        for value in self.values:
            sketch.add(value)
        return sketch


class Tally:
    """`took`: attempts that succeeded; `waited`: from the dispatch to its first attempt."""

    __slots__ = ("_retry", "_timings", "attempts", "errors", "failed", "succeeded", "took", "waited")

    def __init__(self) -> None:
        self.took = _Durations()
        self.waited = _Durations()
        self._retry: Retry | None = None
        self._timings = AttemptLimits()
        self.clear()

    def clear(self) -> None:
        """Begin anew, after a report."""
        self.took.clear()
        self.waited.clear()
        self.failed = 0
        self.attempts: Counter[int] = Counter()
        self.succeeded: Counter[int] = Counter()
        self.errors: dict[str, ErrorCount] = {}

    def ended(self, ended: Ended, now: float, first: int, retry: Retry | None, limits: AttemptLimits) -> None:
        """What came of a delivery whose attempts began with number `first`."""
        self._retry, self._timings = retry, limits
        if ended.error is None and not ended.failed:
            self.took.add(now - ended.started_at)
            if first != 1:
                self.attempts[first] += 1
                self.succeeded[first] += 1
            return
        self._ended_badly(ended, now, first)

    def _ended_badly(self, ended: Ended, now: float, first: int) -> None:
        """Some attempt has failed: worth more than an addition."""
        number = first
        for attempt in ended.failed:
            number = attempt.number
            self._count(number, succeeded=False)
            seen = self._error(attempt.error.type)
            seen.failed += 1
            if ended.delay is None or attempt is not ended.failed[-1]:
                seen.retried += 1
                seen.recovered += ended.error is None
        if ended.error is None:
            self.took.add(now - ended.started_at)
            self._count(number + 1, succeeded=True)
        elif ended.delay is None:
            self.failed += 1
            self._count(number + 1 if ended.failed else first, succeeded=False)
            self._error(ended.error.type if ended.error.limit is None else f"{ended.error.type} ({ended.error.limit})").failed += 1

    def _count(self, number: int, *, succeeded: bool) -> None:
        number = min(number, MOST_ATTEMPTS)
        if number > 1:
            self.attempts[number] += 1
            self.succeeded[number] += succeeded

    def _error(self, kind: str) -> ErrorCount:
        if kind not in self.errors and len(self.errors) >= MOST_ERRORS:
            kind = OTHER
        return self.errors.setdefault(kind, ErrorCount())

    def median(self) -> float | None:
        """Seconds that a body takes, as seen since the last report; None when that is too little to go by."""
        values = self.took.values
        return sorted(values)[len(values) // 2] if len(values) >= 5 else None

    def report(self, now: float, elapsed: float) -> Measured | None:
        """As it is stored; None when nothing has happened. `elapsed`: seconds since the last report."""
        if not (self.took.count or self.failed or self.errors):
            return None
        retry, limits = self._retry, self._timings
        settings = TaskSettings(
            timeout=limits.timeout,
            heartbeat=limits.heartbeat,
            max_attempts=1 if retry is None else retry.max_attempts,
            no_retry_on=() if retry is None else retry.no_retry_on,
        )
        return Measured(
            took=self.took.sketch(),
            waited=self.waited.sketch(),
            failed=self.failed,
            attempts=dict(self.attempts),
            succeeded=dict(self.succeeded),
            errors=self.errors,
            busiest=(self.took.count + self.failed) / max(elapsed, 1.0),
            settings=settings,
            first_at=now - elapsed,
            last_at=now,
        )


class Tallies:
    """Those of a process, by kind ("task" or "workflow") and name: of `MOST_NAMES` at most, since workflows make up the names of steps."""

    def __init__(self) -> None:
        self._tasks: dict[str, Tally] = {}
        self._workflows: dict[str, Tally] = {}
        self._rest = Tally()
        self.runs = self.steps = 0
        """Ended since the process began."""

    def task(self, name: str) -> Tally:
        """A task's. Ask for it anew each time: a report forgets those that were not used."""
        tally = self._tasks.get(name)
        return self._new(self._tasks, name) if tally is None else tally

    def run_ended(self, workflow: str, status: str, took: float) -> None:
        """A run has ended."""
        self.runs += 1
        tally = self._workflows.get(workflow) or self._new(self._workflows, workflow)
        if status == "completed":
            tally.took.add(took)
        elif status != "cancelled":
            tally.failed += 1

    def take(self, now: float, elapsed: float) -> "list[tuple[tuple[Kind, str], Measured]]":
        """What was seen in these last `elapsed` seconds; counting begins anew."""
        self._rest.clear()
        found: list[tuple[tuple[Kind, str], Measured]] = []
        kinds: tuple[tuple[Kind, dict[str, Tally]], ...] = (("task", self._tasks), ("workflow", self._workflows))
        for kind, tallies in kinds:
            for name, tally in list(tallies.items()):
                if (seen := tally.report(now, elapsed)) is not None:
                    found.append(((kind, name), seen))
                    tally.clear()
                else:
                    del tallies[name]
        return found

    def _new(self, tallies: dict[str, Tally], name: str) -> Tally:
        if len(tallies) >= MOST_NAMES:
            return self._rest
        tally = tallies[name] = Tally()
        return tally
