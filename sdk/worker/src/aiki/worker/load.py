"""What a worker has on its hands, as it tells the roster."""

import os
import time
from pathlib import Path

from aiki.actors import Host
from aiki.actors.roster import Load
from aiki.actors.slots import Slots
from aiki.entities import EntityHost

__all__ = ["LoadMeter"]

STATM = Path("/proc/self/statm")


class LoadMeter:
    """Rates are over the time since it was read last."""

    def __init__(self, host: Host, entities: EntityHost, slots: Slots) -> None:
        self._host = host
        self._entities = entities
        self._slots = slots
        self._at = time.monotonic()
        self._cpu = time.process_time()
        self._runs = self._steps = 0

    def read(self) -> Load:
        """The load now."""
        at, cpu = time.monotonic(), time.process_time()
        runs, steps = self._host.tallies.runs, self._host.tallies.steps
        elapsed = max(at - self._at, 1e-3)
        load = Load(
            turns=self._host.turns,
            bodies=self._slots.taken,
            cached_runs=self._host.cached_runs,
            cached_actors=self._entities.in_memory,
            runs_per_second=round((runs - self._runs) / elapsed, 3),
            steps_per_second=round((steps - self._steps) / elapsed, 3),
            cpu=round((cpu - self._cpu) / elapsed, 3),
            memory_mb=_resident_mb(),
        )
        self._at, self._cpu, self._runs, self._steps = at, cpu, runs, steps
        return load


def _resident_mb() -> float:
    try:
        pages = int(STATM.read_text().split()[1])
        return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)
    except (OSError, ValueError, IndexError):  # elsewhere than on Linux
        return 0.0
