"""DBOS as an `Engine`: each worker process is also the client of its runs, which is how DBOS is fastest."""

# mypy: disable-error-code="import-not-found"

import asyncio
import itertools
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType

import psycopg

from benchmarks.child import Child
from benchmarks.engine import Run, Step, Trees, Workflow
from benchmarks.options import Options
from benchmarks.peers.dbos.link import Link
from benchmarks.peers.postgres import Postgres
from benchmarks.steplog import StepLog

__all__ = ["ENGINE"]

POLL_S = 0.02


class Started:
    """A run: its result comes from the worker that started it, or, once that is dead, from the database."""

    def __init__(self, engine: "Dbos", link: Link, label: str, steps: int) -> None:
        self._engine, self._link, self._label, self._steps = engine, link, label, steps

    async def result(self) -> int:
        try:
            return await self._link.result(self._label)
        except ConnectionError:
            await self._engine.succeeded(self._label)
            return self._steps


class Dbos:
    """PostgreSQL, and workers that are clients as well."""

    def __init__(self, options: Options, folder: Path, log: StepLog) -> None:
        self.log = log
        self._options = options
        self._folder = folder
        self._postgres = Postgres(folder)
        self._workers: list[Child] = []
        self._links: list[Link] = []
        self._turn = itertools.count()
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> "Dbos":
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._postgres)
            stack.push_async_callback(self._stop_workers)
            for number in range(self._options.workers):
                self._workers.append(worker := self._spawn(number))
                path = self._socket(number)
                await worker.until(path.exists)
                self._links.append(await Link.to(path))
            self._database = await stack.enter_async_context(await psycopg.AsyncConnection.connect(self._postgres.url, autocommit=True))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._stack.aclose()

    async def start(self, workflow: Workflow, label: str, steps: int) -> Run:
        link = self._link()
        await link.start(workflow, label, steps, named=True)
        return Started(self, link, label, steps)

    async def call(self, workflow: Workflow, label: str, steps: int) -> int:
        link = self._link()
        await link.start(workflow, label, steps, named=False)
        return await link.result(label)

    def trees(self) -> Trees:
        return Trees(server=[self._postgres.pid], worker=[worker.pid for worker in self._workers])

    def kill_worker(self) -> None:
        self._workers.pop(0).kill()

    async def restart_worker(self) -> None:
        self._socket(0).unlink()
        self._workers.insert(0, self._spawn(0))

    async def durable_writes(self) -> int | None:
        return None

    async def recorded(self, labels: Sequence[str]) -> set[Step] | None:
        query = "select workflow_uuid, function_id from dbos.operation_outputs where workflow_uuid = any(%s)"
        rows = await (await self._database.execute(query, [list(labels)])).fetchall()
        return {Step(label, number - 1) for label, number in rows}

    async def succeeded(self, label: str) -> None:
        """Poll the database until the run has succeeded."""
        while True:
            async with self._lock:
                query = "select 1 from dbos.workflow_status where workflow_uuid = %s and status = 'SUCCESS'"
                if await (await self._database.execute(query, [label])).fetchone():
                    return
            await asyncio.sleep(POLL_S)

    async def _stop_workers(self) -> None:
        for link in self._links:
            await link.close()
        for worker in self._workers:
            await worker.stop()

    def _link(self) -> Link:
        return self._links[next(self._turn) % len(self._links)]

    def _socket(self, number: int) -> Path:
        return self._folder / f"worker-{number}.sock"

    def _spawn(self, number: int) -> Child:
        command = [sys.executable, "-m", "benchmarks.peers.dbos.worker", "--database", self._postgres.url]
        command += ["--executor", f"executor-{number}", "--socket", str(self._socket(number))]
        return Child(f"worker-{number}", command, self._folder, environment=self.log.environment())


ENGINE = Dbos
