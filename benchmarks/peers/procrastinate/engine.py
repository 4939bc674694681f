"""Procrastinate as an `Engine` that knows chains only."""

# mypy: disable-error-code="import-not-found"

import sys
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType

import psycopg

from benchmarks.child import Child
from benchmarks.engine import Run, Step, Trees, Workflow
from benchmarks.options import Options
from benchmarks.peers.completions import Completions
from benchmarks.peers.postgres import Postgres
from benchmarks.peers.procrastinate.program import application
from benchmarks.steplog import StepLog

__all__ = ["ENGINE"]


class Chain:
    """A run: over when its last job has succeeded."""

    def __init__(self, completions: Completions, label: str) -> None:
        self._completions = completions
        self._label = label

    async def result(self) -> int:
        return await self._completions.of(self._label)


class Procrastinate:
    """PostgreSQL, workers and a client."""

    def __init__(self, options: Options, folder: Path, log: StepLog) -> None:
        self.log = log
        self._options = options
        self._folder = folder
        self._postgres = Postgres(folder)
        self._workers: list[Child] = []
        self._completions = Completions(self._succeeded)

    async def __aenter__(self) -> "Procrastinate":
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._postgres)
            self._app = application(self._postgres.url, self.log)
            await stack.enter_async_context(self._app.open_async())
            await self._app.schema_manager.apply_schema_async()
            stack.push_async_callback(self._stop_workers)
            self._workers = [self._spawn(number) for number in range(self._options.workers)]
            self._database = await stack.enter_async_context(await psycopg.AsyncConnection.connect(self._postgres.url, autocommit=True))
            stack.callback(self._completions.close)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._stack.aclose()

    async def start(self, workflow: Workflow, label: str, steps: int) -> Run:
        if workflow != "chain":
            raise NotImplementedError(f"a queue has no {workflow}")
        await self._app.tasks["inc"].defer_async(label=label, number=0, value=0, steps=steps)
        return Chain(self._completions, label)

    async def call(self, workflow: Workflow, label: str, steps: int) -> int:
        return await (await self.start(workflow, label, steps)).result()

    def trees(self) -> Trees:
        return Trees(server=[self._postgres.pid], worker=[worker.pid for worker in self._workers])

    def kill_worker(self) -> None:
        raise NotImplementedError("a queue has no runs to recover")

    async def restart_worker(self) -> None:
        raise NotImplementedError("a queue has no runs to recover")

    async def durable_writes(self) -> int | None:
        return None

    async def recorded(self, labels: Sequence[str]) -> set[Step] | None:
        return None

    async def _succeeded(self) -> Iterable[tuple[str, int]]:
        query = (
            "select args->>'label', (args->>'value')::int + 1 from procrastinate_jobs"
            " where status = 'succeeded' and (args->>'number')::int + 1 = (args->>'steps')::int"
        )
        return [(str(label), int(value)) for label, value in await (await self._database.execute(query)).fetchall()]

    async def _stop_workers(self) -> None:
        for worker in self._workers:
            await worker.stop()

    def _spawn(self, number: int) -> Child:
        command = [sys.executable, "-m", "benchmarks.peers.procrastinate.worker", "--database", self._postgres.url]
        return Child(f"worker-{number}", command, self._folder, environment=self.log.environment())


ENGINE = Procrastinate
