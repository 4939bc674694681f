"""A worker in a process of its own, started by the command line as a user would."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import Self

from examples.audit import BODIES_LOG

__all__ = ["WorkerProcess"]

ROOT = Path(__file__).resolve().parents[2]
BODIES_AT_A_TIME = 2


class WorkerProcess:
    """`aiki worker examples.audit`, with `id`."""

    def __init__(self, id: str, process: asyncio.subprocess.Process) -> None:
        self.id = id
        self._process = process

    @classmethod
    async def start(cls, id: str, url: str, bodies: Path) -> Self:
        """Returns when it serves. `bodies`: the file in which task bodies note that they begin."""
        arguments = ("worker", "examples.audit", "--id", id, "--max-tasks", str(BODIES_AT_A_TIME), "--url", url, "--json")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "aiki.cli", *arguments),
            cwd=ROOT,
            env={**os.environ, BODIES_LOG: str(bodies)},
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        if not await process.stdout.readline():
            raise SystemExit(f"worker {id} ended with status {await process.wait()} before it served")
        return cls(id, process)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def kill(self) -> float:
        """SIGKILL; answers an instant at which the process was certainly dead."""
        self._process.kill()
        await self._process.wait()
        return time.time()

    async def stop(self) -> None:
        """SIGTERM, and wait; nothing happens when it has ended already."""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            await self._process.wait()
