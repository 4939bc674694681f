"""What a stretch of work cost: time, CPU, durable writes, memory."""

import asyncio
import os
import time

from benchmarks.engine import Engine
from benchmarks.procfs import cpu_seconds, pss_mb, storage_bytes
from benchmarks.report import Figures

__all__ = ["Meter"]

SETTLE_S = 0.1
SETTLE_ROUNDS = 30


class Meter:
    """Begins when it is made by `begin`; `stop` ends the stretch, `figures` tells what it cost."""

    def __init__(self, engine: Engine, writes: int | None) -> None:
        self._engine = engine
        self._writes = writes
        trees = engine.trees()
        self._bytes = storage_bytes(trees.server)
        self._cpu = self._cpu_now()
        self._began = time.perf_counter()
        self.secs = 0.0
        self._spent = (0.0, 0.0, 0.0)

    @classmethod
    async def begin(cls, engine: Engine) -> "Meter":
        return cls(engine, await _settled(engine))

    def stop(self) -> None:
        """The last result is there: stop the clocks."""
        self.secs = time.perf_counter() - self._began
        server, worker, client = (now - before for now, before in zip(self._cpu_now(), self._cpu, strict=True))
        self._spent = (server, worker, client)

    async def figures(self, runs: int) -> Figures:
        """The cost of `runs` runs. Waits first until the server writes no more, since what it owes belongs to the runs too."""
        writes = await _settled(self._engine)
        trees = self._engine.trees()
        server, worker, client = self._spent
        stored = None if writes is None or self._writes is None else writes - self._writes
        return {
            "durable_writes": stored,
            "durable_writes_per_run": None if stored is None else stored / runs,
            "bytes_written": None if stored is None else storage_bytes(trees.server) - self._bytes,
            "cpu_ms_per_run": sum(self._spent) * 1000 / runs,
            "cpu_server_s": server,
            "cpu_worker_s": worker,
            "cpu_client_s": client,
            "pss_mb": pss_mb([*trees.server, *trees.worker]),
        }

    def _cpu_now(self) -> tuple[float, float, float]:
        trees = self._engine.trees()
        own = os.times()
        return cpu_seconds(trees.server), cpu_seconds(trees.worker), own.user + own.system


async def _settled(engine: Engine) -> int | None:
    """The server's count of durable writes, once it has stood still for a moment."""
    before = await engine.durable_writes()
    for _ in range(SETTLE_ROUNDS):
        await asyncio.sleep(SETTLE_S)
        now = await engine.durable_writes()
        if now == before:
            break
        before = now
    return before
