"""The proof that no recorded task ran again: what the run's store had recorded at the kill, against what the bodies themselves noted."""

from pathlib import Path
from typing import NamedTuple

__all__ = ["Body", "Proof", "read_bodies"]


class Body(NamedTuple):
    """A task body has begun: for which distribution, in which process, when (seconds since the epoch)."""

    distribution: str
    pid: int
    started_at: float


class Proof(NamedTuple):
    """`recorded`: distributions whose task was recorded right after the kill. `bodies`: all beginnings of bodies, of both workers."""

    recorded: frozenset[str]
    bodies: tuple[Body, ...]
    killed_pid: int
    killed_at: float

    @property
    def violations(self) -> list[Body]:
        """Bodies of recorded tasks that began after the kill, or in another process than the killed one. None may exist."""
        return [
            body
            for body in self.bodies
            if body.distribution in self.recorded and (body.started_at > self.killed_at or body.pid != self.killed_pid)
        ]

    @property
    def repeated(self) -> list[str]:
        """Distributions whose body began more than once: it was running, or had not been recorded yet, when the worker was killed."""
        names = [body.distribution for body in self.bodies]
        return sorted({name for name in names if names.count(name) > 1})

    @property
    def later(self) -> int:
        """How many bodies began after the kill."""
        return sum(body.started_at > self.killed_at for body in self.bodies)


def read_bodies(log: Path) -> tuple[Body, ...]:
    """The notes of `examples.audit.verify`, in the order in which they were written."""
    lines = [line.split("\t") for line in log.read_text().splitlines()]
    return tuple(Body(name, int(pid), float(started_at)) for name, pid, started_at in lines)
