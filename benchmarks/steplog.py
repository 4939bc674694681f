"""What step bodies leave behind: one line per event, appended with O_APPEND, so that a SIGKILL loses none and many processes may write."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

__all__ = ["Event", "Kind", "StepLog"]

Kind = Literal["S", "E"]
"""`S`: a step body starts; `E`: it has ended (nothing is recorded yet at that moment)."""

VARIABLE = "BENCH_STEP_LOG"


class Event(NamedTuple):
    """One line: which step of which run, and when, in nanoseconds since the epoch."""

    kind: str
    label: str
    step: int
    at: int


class StepLog:
    """A log file; without a path every write does nothing (workloads that measure throughput alone)."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._descriptor: int | None = None

    @classmethod
    def from_environment(cls) -> "StepLog":
        """The log that the benchmark handed to this worker process, if any."""
        name = os.environ.get(VARIABLE)
        return cls(Path(name) if name else None)

    def environment(self) -> dict[str, str]:
        """The variables that hand this log to a worker process."""
        return {} if self.path is None else {VARIABLE: str(self.path)}

    def write(self, kind: Kind, label: str, step: int) -> None:
        """Append one event."""
        if self.path is None:
            return
        if self._descriptor is None:
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(self._descriptor, f"{kind} {label} {step} {time.time_ns()}\n".encode())

    def clear(self) -> None:
        """Forget all events; writers keep their descriptors."""
        if self.path is not None:
            self.path.write_bytes(b"")

    def events(self) -> Iterator[Event]:
        """All events so far. A line that a kill cut short is left out."""
        if self.path is None or not self.path.exists():
            return
        for line in self.path.read_text().splitlines():
            fields = line.split()
            if len(fields) == 4:
                yield Event(fields[0], fields[1], int(fields[2]), int(fields[3]))

    def count(self, kind: Kind) -> int:
        """How many events of one kind there are; cheap enough to poll."""
        if self.path is None or not self.path.exists():
            return 0
        return sum(line.startswith(kind.encode()) for line in self.path.read_bytes().splitlines())
