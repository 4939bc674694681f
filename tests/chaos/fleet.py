"""Real processes that are killed, stopped and continued, and the proof that nothing was lost or done again."""

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path

from aiki.actors import init
from aiki.client import RunHandle
from aiki.sdk import Client
from aiki.transport import EmbeddedNats
from tests.chaos.program import LOG, journey, read_log, total

__all__ = ["Fleet", "Process"]

READY_WITHIN = 30.0
RECONNECTED_WITHIN = 2.0
"""Seconds after a server's return in which its clients are back and have repeated what was in flight."""
SLACK = 0.5
"""Seconds between the recorded instant of an outcome (its host's clock, before the commit) and the beginning of a body in another process
that had looked at the run just before the commit."""


class Process:
    """A child process, in whose output lines are awaited."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        self.child = child
        self.resumed: list[float] = []
        """When it went on after a pause."""

    async def line(self) -> str:
        """The next line that it prints."""
        assert self.child.stdout is not None
        async with asyncio.timeout(READY_WITHIN):
            return (await self.child.stdout.readline()).decode().strip()

    async def kill(self) -> None:
        """SIGKILL."""
        if self.child.returncode is None:
            self.child.kill()
        await self.child.wait()

    def pause(self) -> None:
        """SIGSTOP."""
        self.child.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self.resumed.append(time.time())
        self.child.send_signal(signal.SIGCONT)


class Fleet:
    """One server with a store, one region, worker processes, and a client in this process."""

    client: Client

    def __init__(self, folder: Path, serves: str = "journey") -> None:
        self.serves = serves
        self.server = EmbeddedNats(store=folder / "store")
        self.log = folder / "bodies.log"
        self.region = "chaos"
        self.workers: list[Process] = []
        self._outages: list[tuple[float, float]] = []
        self._processes: list[Process] = []
        self._numbers = 0

    async def __aenter__(self) -> "Fleet":
        await self.server.start()
        self.client = await Client.connect(self.server.url, region=self.region)
        await init(self.client.transport, region=self.region)
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in self._processes:
            await process.kill()
        await self.client.close()
        await self.server.stop()

    async def spawn(self, module: str, *arguments: str) -> Process:
        """Run a module of these tests in a process of its own."""
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            f"tests.chaos.{module}",
            self.server.url,
            self.region,
            *arguments,
            env={**os.environ, LOG: str(self.log)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        process = Process(child)
        self._processes.append(process)
        return process

    async def worker(self) -> Process:
        """Another worker, serving."""
        self._numbers += 1
        process = await self.spawn("worker", f"worker-{self._numbers}", self.serves)
        assert await process.line() == "ready"
        self.workers.append(process)
        return process

    async def replace(self, process: Process) -> None:
        """Kill a worker; another takes its place."""
        self.workers.remove(process)
        await process.kill()
        await self.worker()

    async def crash_server(self) -> None:
        """SIGKILL the server and start it again on its store."""
        began = time.time()
        await self.server.kill()
        await self.server.restart()
        self._outages.append((began, time.time()))

    def _surely_recorded(self, instant: float) -> float:
        """An outcome carries the instant at which its host took it up; while the server was away, the commit came only after its return."""
        for began, ended in self._outages:
            if began - SLACK <= instant <= ended:
                return ended + RECONNECTED_WITHIN
        return instant + SLACK

    def _excused(self, instant: float, pid: int) -> bool:
        """Whether a process was stopped between its look at the run and the body: no check can close that gap."""
        return any(0 <= instant - resumed < SLACK for each in self._processes if each.child.pid == pid for resumed in each.resumed)

    def bodies(self) -> int:
        """How many bodies have begun."""
        return len(read_log(self.log))

    async def at_work(self, more: int, most: int, within: float = 20.0) -> bool:
        """Until `more` further bodies have begun; False when all `most` of them have, so that there is nothing left to disturb."""
        target = self.bodies() + more
        async with asyncio.timeout(within):
            while (bodies := self.bodies()) < min(target, most):  # noqa: ASYNC110  # another process writes the file
                await asyncio.sleep(0.01)
        return bodies < most

    async def check(self, handles: list[RunHandle[int]], stages: int, within: float = 60.0) -> None:
        """Every run has the right result, each step is recorded once, and no body began after its step was recorded."""
        async with asyncio.timeout(within):
            results = await asyncio.gather(*(handle.wait_for_completion() for handle in handles))
        assert results == [total(stages)] * len(handles)
        recorded: dict[str, float] = {}
        for handle in handles:
            view = await handle.describe()
            assert view.status.state == "completed"
            steps = Counter((step.address, step.ordinal) for step in view.steps)
            assert set(steps.values()) == {1}, "a step is recorded twice"
            assert len(steps) == 5 * stages
            for step in view.steps:
                assert step.state == "completed" and step.finished_at is not None
                recorded[f"{handle.id}/{step.address}/{step.ordinal}"] = step.finished_at.timestamp()
        bodies = read_log(self.log)
        assert set(recorded) <= {key for _, key, _ in bodies}
        again = [
            f"{key} began {instant - recorded[key]:.3f} s after it was recorded"
            for instant, key, pid in bodies
            if key in recorded and instant > self._surely_recorded(recorded[key]) and not self._excused(instant, pid)
        ]
        assert not again, again

    async def start(self, count: int, stages: int) -> list[RunHandle[int]]:
        """Start runs from this process."""
        return list(await asyncio.gather(*(journey.enqueue(self.client, stages) for _ in range(count))))
