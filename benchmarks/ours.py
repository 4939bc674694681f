"""Aiki as an `Engine`: an embedded NATS server on a fresh store, worker processes, and the client in the benchmark's own process."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from aiki.actors import init
from aiki.sdk import Client, RunHandle
from aiki.transport.embedded import EmbeddedNats
from benchmarks.child import Child
from benchmarks.codec import bench_codec
from benchmarks.engine import Run, Step, Trees, Workflow
from benchmarks.options import Options
from benchmarks.program import Order, Program
from benchmarks.region import REGION
from benchmarks.steplog import StepLog
from benchmarks.storage import stored_messages

__all__ = ["Aiki"]


class Handle:
    """A run of ours, awaited through its typed handle."""

    def __init__(self, handle: RunHandle[int]) -> None:
        self.handle = handle

    async def result(self) -> int:
        return await self.handle.wait_for_completion()


class Aiki:
    """Server, workers and client. `fsync`: the server syncs a write before it answers; `os`: the operating system syncs it, later."""

    def __init__(self, options: Options, folder: Path, log: StepLog) -> None:
        self.log = log
        self._options = options
        self._folder = folder
        self._program = Program(options.mode, log)
        self._nats = EmbeddedNats(store=folder / "store", port=0, sync_always=options.durability == "fsync")
        self._workers: list[Child] = []
        self._spawned = 0
        self._handles: dict[str, Handle] = {}

    async def __aenter__(self) -> "Aiki":
        await self._nats.__aenter__()
        self._client = await Client.connect(self._nats.url, region=REGION, codec=bench_codec(self._options.codec))
        await init(self._client.transport, region=REGION)
        self._workers = [self._spawn() for _ in range(self._options.workers)]
        for worker in self._workers:
            await worker.until(self._ready(worker).exists)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for worker in self._workers:
            await worker.stop()
        await self._client.close()
        await self._nats.stop()

    async def start(self, workflow: Workflow, label: str, steps: int) -> Run:
        handle = Handle(await self._program.workflows[workflow].enqueue(self._client, Order(label, steps)))
        self._handles[label] = handle
        return handle

    async def call(self, workflow: Workflow, label: str, steps: int) -> int:
        return await (await self.start(workflow, label, steps)).result()

    def trees(self) -> Trees:
        return Trees(server=[pid] if (pid := self._nats.pid) else [], worker=[worker.pid for worker in self._workers])

    def kill_worker(self) -> None:
        self._workers.pop(0).kill()

    async def restart_worker(self) -> None:
        self._workers.append(self._spawn())

    async def restart_server(self) -> float:
        await self._nats.kill()
        began = time.perf_counter()
        await self._nats.restart()
        return time.perf_counter() - began

    async def durable_writes(self) -> int | None:
        return await stored_messages(self._client.transport)

    async def recorded(self, labels: Sequence[str]) -> set[Step] | None:
        steps: set[Step] = set()
        for label in labels:
            view = await self._handles[label].handle.describe()
            steps |= {Step(label, each.input["number"]) for each in view.steps if each.state == "completed"}
        return steps

    def _spawn(self) -> Child:
        name = f"worker-{self._spawned}"
        self._spawned += 1
        ready = self._folder / f"{name}.ready"
        command = [sys.executable, "-m", "benchmarks.worker", "--url", self._nats.url, "--name", name]
        command += ["--mode", self._options.mode, "--ready", str(ready)]
        command += ["--codec"] if self._options.codec else []
        return Child(name, command, self._folder, environment=self.log.environment())

    def _ready(self, worker: Child) -> Path:
        return self._folder / f"{worker.name}.ready"
