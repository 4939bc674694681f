"""Absurd as an `Engine`: PostgreSQL with its functions, polling workers, and a client with a pool of connections."""

# mypy: disable-error-code="import-not-found"

import asyncio
import sys
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType

import psycopg
from absurd_sdk import AsyncAbsurd

from benchmarks.child import Child
from benchmarks.engine import Run, Step, Trees, Workflow
from benchmarks.options import Options
from benchmarks.peers.completions import Completions
from benchmarks.peers.postgres import Postgres
from benchmarks.steplog import StepLog

__all__ = ["ENGINE"]

QUEUE = "bench"
CONNECTIONS = 20


class Spawned:
    """A run, by its task's id."""

    def __init__(self, completions: Completions, id: str) -> None:
        self._completions = completions
        self._id = id

    async def result(self) -> int:
        return await self._completions.of(self._id)


class Absurd:
    """PostgreSQL, workers and clients."""

    def __init__(self, options: Options, folder: Path, log: StepLog) -> None:
        self.log = log
        self._options = options
        self._folder = folder
        self._postgres = Postgres(folder)
        self._workers: list[Child] = []
        self._spawned = 0
        self._clients: asyncio.LifoQueue[AsyncAbsurd] = asyncio.LifoQueue()
        self._completions = Completions(self._completed)

    async def __aenter__(self) -> "Absurd":
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._postgres)
            control = Path(sys.executable).parent / "absurdctl"
            for command in (["init"], ["create-queue", QUEUE]):
                environment = {"ABSURD_DATABASE_URL": self._postgres.url}
                await Child(command[0], [control, *command], self._folder, environment=environment).success()
            stack.push_async_callback(self._stop_workers)
            self._workers = [self._spawn() for _ in range(self._options.workers)]
            self._database = await stack.enter_async_context(await psycopg.AsyncConnection.connect(self._postgres.url, autocommit=True))
            stack.callback(self._completions.close)
            for _ in range(min(self._options.conc, CONNECTIONS)):
                client = AsyncAbsurd(self._postgres.url, queue_name=QUEUE)
                stack.push_async_callback(client.close)
                self._clients.put_nowait(client)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._stack.aclose()

    async def start(self, workflow: Workflow, label: str, steps: int) -> Run:
        client = await self._clients.get()
        try:
            spawned = await client.spawn(workflow, {"label": label, "steps": steps}, queue=QUEUE)
        finally:
            self._clients.put_nowait(client)
        return Spawned(self._completions, str(spawned["task_id"]))

    async def call(self, workflow: Workflow, label: str, steps: int) -> int:
        return await (await self.start(workflow, label, steps)).result()

    def trees(self) -> Trees:
        return Trees(server=[self._postgres.pid], worker=[worker.pid for worker in self._workers])

    def kill_worker(self) -> None:
        self._workers.pop(0).kill()

    async def restart_worker(self) -> None:
        self._workers.append(self._spawn())

    async def durable_writes(self) -> int | None:
        return None

    async def recorded(self, labels: Sequence[str]) -> set[Step] | None:
        query = (
            f"select t.params->>'label', c.checkpoint_name from absurd.c_{QUEUE} c join absurd.t_{QUEUE} t using (task_id)"
            " where c.checkpoint_name like 'slow-%%' and t.params->>'label' = any(%s)"
        )
        async with await psycopg.AsyncConnection.connect(self._postgres.url) as database:
            rows = await (await database.execute(query, [list(labels)])).fetchall()
        return {Step(label, int(name.partition("-")[2])) for label, name in rows}

    async def _completed(self) -> Iterable[tuple[str, int]]:
        query = f"select task_id, completed_payload from absurd.t_{QUEUE} where state = 'completed'"
        rows = await (await self._database.execute(query)).fetchall()
        return [(str(id), int(result)) for id, result in rows]

    async def _stop_workers(self) -> None:
        for worker in self._workers:
            await worker.stop()

    def _spawn(self) -> Child:
        name = f"worker-{self._spawned}"
        self._spawned += 1
        command = [sys.executable, "-m", "benchmarks.peers.absurd.worker", "--database", self._postgres.url, "--queue", QUEUE]
        return Child(name, command, self._folder, environment=self.log.environment())


ENGINE = Absurd
