"""The worker: runs workflows, tasks and actors in your own process."""

import asyncio
import contextlib
import logging
import os
import platform
import secrets
import signal
import socket
from types import TracebackType
from typing import Self

from aiki.actors import Host, TaskWorker, roster
from aiki.actors.measures import MEASURE_EVERY, Measures
from aiki.actors.slots import Slots
from aiki.client import Client
from aiki.clock import Clock
from aiki.entities import EntityHost
from aiki.gates import GateKeeper
from aiki.kv import MeasureStore
from aiki.types.duration import Duration, seconds
from aiki.types.errors import AikiError, DefinitionError
from aiki.types.identifiers import WorkerId
from aiki.types.names import check_name
from aiki.types.retention import Kept, Retention
from aiki.worker.garbage import calm_down
from aiki.worker.load import LoadMeter
from aiki.worker.registry import Registry

__all__ = ["Worker"]

LAST_WORD = 2.0
"""Seconds that a worker which stops takes to write what it has measured."""

_log = logging.getLogger("aiki.worker")


class Worker:
    """Serves what its `registry` holds. `async with worker:`, or `start` and `stop`, or `run` until SIGTERM.

    `queue`: whose tasks it takes. `max_concurrent_workflow_runs` bounds turns that are going on at a time (waiting runs cost nothing),
    `max_concurrent_tasks` the task bodies. `retention`: how long a run is kept after its end, where its workflow does not say so: a
    duration, None (for ever) or a `Retention`, which tells outcomes apart (default: 7 days). `archive`: no run expires before an `Archiver`
    has written it to a file (it is kept until then), where its workflow does not say otherwise. `cached_runs`: how many waiting runs are
    kept in memory, `cached_actors` how many actors that nobody calls, each for `actor_idle` at most. `reports`: whether `aiki worker list`
    shows it. `always_replay`, for tests: whenever anything happens to a run, its code begins anew from the journal, and the run fails with
    `NonDeterminismError` when that calls other steps.
    """

    def __init__(
        self,
        client: Client,
        *,
        id: str | None = None,
        queue: str = "default",
        max_concurrent_workflow_runs: int = 100,
        max_concurrent_tasks: int = 100,
        retention: Kept | Retention = "worker",
        archive: bool = False,
        cached_runs: int = 5000,
        cached_actors: int = 10_000,
        actor_idle: Duration = 300.0,
        clock: Clock | None = None,
        reports: bool = True,
        always_replay: bool = False,
    ) -> None:
        default_id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"
        self.id = WorkerId(check_name(id if id is not None else default_id, "worker"))
        self.queue = check_name(queue, "queue")
        self.registry = Registry()
        self._client = client
        self._max_runs = _at_least(1, max_concurrent_workflow_runs, "max_concurrent_workflow_runs")
        self._max_tasks = _at_least(1, max_concurrent_tasks, "max_concurrent_tasks")
        self._host = Host(
            client.transport,
            client.subjects,
            worker_id=self.id,
            clock=client.clock if clock is None else client.server_clock(clock),
            cache_size=_at_least(0, cached_runs, "cached_runs"),
            max_turns=self._max_runs,
            retention=Retention.of(retention, "retention"),
            archive=_boolean(archive, "archive"),
            always_replay=always_replay,
            environment=client,
            blobs=client.blobs,
        )
        self._entities = EntityHost(
            client.transport,
            client.subjects,
            clock=clock,
            cached=_at_least(0, cached_actors, "cached_actors"),
            idle=seconds(actor_idle, "actor_idle", least=0.001),
        )
        self._reports = reports
        self._slots = Slots(self._max_tasks)
        self._measures: Measures | None = None
        self._tasks: list[TaskWorker] = []
        self._keepers: list[GateKeeper] = []
        self._reporter: asyncio.Task[None] | None = None
        self._state = "new"

    async def start(self) -> None:
        """Begin to serve. Raises `StreamMissing` (which names `aiki init`) and `DefinitionError` when nothing is registered."""
        if self._state != "new":
            raise DefinitionError(f"worker {self.id!r} was started already; make a new one", where="worker")
        if not self.registry.workflows and not self.registry.tasks and not self.registry.actors:
            raise DefinitionError(f"worker {self.id!r} has nothing to serve: worker.registry.add(…) first", where="worker")
        self._state = "started"
        self.registry.close()
        calm_down()
        try:
            await self._host.start(list(self.registry.workflows.values()))
            for task in self.registry.tasks.values():
                worker = TaskWorker(self._host, task, task.queue or self.queue, self._slots, self._max_tasks)
                self._tasks.append(worker)
                await worker.start()
                limits = () if task.admission is None or task.admission.cap is not None else task.admission.limits
                keeper = GateKeeper(self._host, task.queue or self.queue, task.name, limits)
                # What waits since the task had limits that it has no more is let in as well.
                if (task.admission is not None and task.admission.cap is None) or await keeper.is_needed():
                    self._keepers.append(keeper)
                    await keeper.start()
            if self.registry.actors:
                await self._entities.start(list(self.registry.actors.values()))
        except BaseException:
            await self.stop(0.0)
            raise
        if self._reports:
            now = self._host.now()
            self._measures = Measures(self._host.tallies, MeasureStore(self._client.transport, self._client.subjects), now)
            self._reporter = asyncio.create_task(self._report(now, self._measures))
        _log.info(
            "worker %s serves %d workflows, %d tasks of queue %r and %d classes of actors",
            self.id,
            len(self.registry.workflows),
            len(self.registry.tasks),
            self.queue,
            len(self.registry.actors),
        )

    async def stop(self, grace: Duration = 10.0) -> None:
        """Take nothing new, give what runs `grace` to end, and hand the rest over to other workers."""
        if self._state != "started":
            return
        self._state = "stopped"
        limit = seconds(grace, "grace")
        if self._reporter is not None:
            self._reporter.cancel()
        # Others let in what waits while our bodies end.
        await asyncio.gather(*(keeper.stop() for keeper in self._keepers), return_exceptions=True)
        await asyncio.gather(*(task.drain(limit) for task in self._tasks), return_exceptions=True)
        await asyncio.gather(self._host.drain(limit), self._entities.drain(limit))
        await asyncio.gather(*(task.stop() for task in self._tasks), return_exceptions=True)
        await self._host.stop()
        await self._entities.stop()
        if self._measures is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_WORD):
                    await self._measures.report(self._host.now())
        with contextlib.suppress(AikiError):
            await roster.remove(self._client.transport, self._client.subjects, self.id)

    def abandon(self) -> None:
        """Forget everything at once, as a process does that is killed: for `aiki.testing`, which ends its connection and tasks too."""
        self._state = "stopped"
        for keeper in self._keepers:
            keeper.abandon()
        self._host.abandon()
        self._entities.abandon()

    async def run(self, grace: Duration = 10.0) -> None:
        """Serve until SIGTERM or SIGINT, then stop gracefully; a second signal ends it at once."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        numbers = (signal.SIGTERM, signal.SIGINT)

        def on_signal() -> None:
            for number in numbers:
                loop.remove_signal_handler(number)
            ended.set()

        for number in numbers:
            with contextlib.suppress(NotImplementedError):  # Windows
                loop.add_signal_handler(number, on_signal)
        await self.start()
        try:
            await ended.wait()
        finally:
            await self.stop(grace)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.stop()

    async def _report(self, started_at: float, measures: Measures) -> None:
        meter = LoadMeter(self._host, self._entities, self._slots)
        from importlib.metadata import version  # takes a tenth of what the whole of `aiki.sdk` takes to import

        aiki = version("aiki")
        measured_at = started_at
        while True:
            now = self._host.now()
            if now - measured_at >= MEASURE_EVERY:
                measured_at = now
                await measures.report(now)
            info = roster.WorkerInfo(
                id=self.id,
                queue=self.queue,
                host=socket.gethostname(),
                started_at=started_at,
                reported_at=self._host.now(),
                workflows=tuple(self.registry.workflows),
                tasks=tuple(self.registry.tasks),
                actors=tuple(self.registry.actors),
                max_runs=self._max_runs,
                max_tasks=self._max_tasks,
                python=platform.python_version(),
                serves=tuple((task.queue or self.queue, task.name) for task in self.registry.tasks.values()),
                events=tuple(
                    (each.name, each.version, tuple(sorted(each.events)))
                    for each in self.registry.workflows.values()
                    if each.events is not None
                ),
                load=meter.read(),
                aiki=aiki,
            )
            try:
                await roster.report(self._client.transport, self._client.subjects, info)
            except AikiError as error:
                _log.debug("worker %s could not report: %s", self.id, error)
            await asyncio.sleep(roster.REPORT_EVERY)


def _boolean(value: bool, what: str) -> bool:
    if not isinstance(value, bool):
        raise DefinitionError(f"{what} must be True or False, not {value!r}", what=what)
    return value


def _at_least(least: int, value: int, what: str) -> int:
    if type(value) is not int or value < least:
        raise DefinitionError(f"{what} must be an integer of at least {least}, not {value!r}", what=what)
    return value
