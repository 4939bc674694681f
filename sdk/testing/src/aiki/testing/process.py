"""A worker as a process of its own, as far as its tasks and its connection go: it can be killed between two awaits."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, cast

from aiki.client import Client
from aiki.clock import Clock, SystemClock
from aiki.codec import Codec
from aiki.task import Task
from aiki.task.interception import INTERCEPTOR, Interceptor
from aiki.testing.crash import CommitWatch, PlannedCrash
from aiki.transport import JetStreamTransport, MemoryTransport, Transport
from aiki.types.subjects import Subjects
from aiki.worker import Worker
from aiki.workflow import Workflow

__all__ = ["Definition", "Ownership", "Process"]

Definition = Workflow[Any, Any] | Task[Any, Any, ..., Any] | type[Any]
PATIENCE = 1.0
"""Seconds for which a crash waits until the cancelled tasks have ended."""

_owner: contextvars.ContextVar["Process | None"] = contextvars.ContextVar("aiki_testing_process", default=None)


class Process:
    """A worker with its connection, and every asyncio task that it has started."""

    def __init__(
        self,
        connect: Callable[[str], Awaitable[MemoryTransport | JetStreamTransport]],
        subjects: Subjects,
        clock: Clock,
        bodies: Interceptor,
        crashed: Callable[["Process", PlannedCrash], None],
        definitions: tuple[Definition, ...],
        options: dict[str, Any],
    ) -> None:
        self.definitions = definitions
        self.options = {name: value for name, value in options.items() if name != "codec"}
        self.codec: Codec | None = options.get("codec")
        self.alive = False
        self.tasks: set[asyncio.Task[Any]] = set()
        self._connect = connect
        self._subjects = subjects
        self._clock = clock
        self._bodies = bodies
        self._crashed = crashed
        self._transport: MemoryTransport | JetStreamTransport | None = None
        self._worker: Worker | None = None
        self._watch: CommitWatch | None = None

    @property
    def worker(self) -> Worker:
        """The worker, once it has been started."""
        assert self._worker is not None
        return self._worker

    @property
    def commits(self) -> CommitWatch:
        """What it commits."""
        assert self._watch is not None
        return self._watch

    async def start(self) -> None:
        """Connect, and serve. What is started from here on belongs to this process."""
        context = contextvars.copy_context()
        context.run(_owner.set, self)
        context.run(INTERCEPTOR.set, self._bodies)
        await asyncio.get_running_loop().create_task(self._start(), context=context)

    async def _start(self) -> None:
        self._transport = await self._connect(str(self.options.get("id", "worker")))
        self._watch = CommitWatch(self._transport, self._subjects, lambda planned: self._crashed(self, planned))
        virtual = not isinstance(self._clock, SystemClock)
        client = Client(
            cast(Transport, self._watch),
            region=self._subjects.region,
            clock=self._clock,
            reads_server_clock=not virtual,
            codec=self.codec,
        )
        self._worker = Worker(client, clock=self._clock, **self.options)
        for definition in self.definitions:
            self._worker.registry.add(definition)
        await self._worker.start()
        self.alive = True

    def kill(self) -> None:
        """SIGKILL: nothing of this process takes effect any more."""
        self.alive = False
        if self._transport is not None:
            self._transport.crash()
        if self._worker is not None:
            self._worker.abandon()
        for task in list(self.tasks):
            task.cancel()

    async def buried(self) -> None:
        """Returns when the killed tasks have ended, or do not."""
        if tasks := [task for task in self.tasks if task is not asyncio.current_task()]:
            await asyncio.wait(tasks, timeout=PATIENCE)

    async def stop(self) -> None:
        """End in order."""
        self.alive = False
        if self._worker is not None:
            await self._worker.stop(0.0)
        if self._transport is not None:
            await self._transport.close()


class Ownership:
    """The loop's task factory for a while: tasks belong to the process in whose context they are started."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._before: Any = self._loop.get_task_factory()

    def begin(self) -> None:
        """From now on."""
        before = self._before

        def owned(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any) -> "asyncio.Task[Any]":
            task: asyncio.Task[Any]
            task = before(loop, coroutine, **options) if before is not None else asyncio.Task(coroutine, loop=loop, **options)
            context: contextvars.Context | None = options.get("context")
            process = _owner.get() if context is None else context.get(_owner)
            if process is not None:
                process.tasks.add(task)
                task.add_done_callback(process.tasks.discard)
            return task

        factory: Any = owned
        self._loop.set_task_factory(factory)

    def end(self) -> None:
        """As it was."""
        self._loop.set_task_factory(self._before)
