"""The test environment: the engine, in memory with virtual time or on an embedded server, and what tests do to it."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from aiki.actors import init
from aiki.client import Client
from aiki.clock import Clock, SystemClock
from aiki.codec import Codec
from aiki.journal import RunState, peek_state
from aiki.sealing import SealedTransport
from aiki.task import Task
from aiki.testing.crash import PlannedCrash, When
from aiki.testing.injection import Injection, Moment
from aiki.testing.process import Definition, Ownership, Process
from aiki.testing.stub import Bodies, Stub
from aiki.testing.virtual import VirtualTime
from aiki.transport import EmbeddedNats, JetStreamTransport, MemoryServer, MemoryTransport
from aiki.types.duration import Duration, seconds
from aiki.types.errors import DefinitionError
from aiki.types.states import is_final
from aiki.types.subjects import Subjects
from aiki.worker import Worker
from aiki.workflow import Workflow

__all__ = ["TestEnvironment"]

Input = TypeVar("Input")
Output = TypeVar("Output")

BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
"""When virtual time begins, unless said otherwise."""


class TestEnvironment:
    """The engine for one test: `async with TestEnvironment.in_memory() as env`, or `.nats()`.

    In memory, time is virtual: whenever everything waits, the running loop's clock jumps to the next timer. Nothing is shared between two
    environments.
    """

    __test__ = False  # not a test class, whatever pytest may think of its name

    def __init__(self, *, server: EmbeddedNats | None, begin: datetime, always_replay: bool, codec: Codec | None = None) -> None:
        self._codec = codec
        self._embedded = server
        self._time = VirtualTime(begin.timestamp(), self._what_waits) if server is None else None
        self._clock: Clock = SystemClock() if self._time is None else self._time
        self._always_replay = always_replay
        self._subjects = Subjects("default")
        self._bodies = Bodies()
        self._processes: list[Process] = []
        self._restarts: set[asyncio.Task[None]] = set()
        self._injections: list[Injection[Any]] = []
        self._memory: MemoryServer | None = None
        self._client: Client | None = None
        self._ownership: Ownership | None = None
        self._outside = contextvars.Context()
        """In which nothing belongs to any worker."""

    @classmethod
    def in_memory(cls, *, begin: datetime = BEGIN, always_replay: bool = False, codec: Codec | None = None) -> Self:
        """The in-memory transport and virtual time, which begins at `begin`.

        `always_replay`: whenever anything happens to a run, its code begins anew from the journal, and the run fails with
        `NonDeterminismError` when it calls other steps than before. `codec`: of the client and of all workers, unless one is given
        another by `env.worker(…, codec=…)`.
        """
        if begin.tzinfo is None:
            raise DefinitionError("the instant at which virtual time begins needs a time zone: datetime(…, tzinfo=UTC)", where="testing")
        return cls(server=None, begin=begin, always_replay=always_replay, codec=codec)

    @classmethod
    def nats(cls, *, always_replay: bool = False, codec: Codec | None = None) -> Self:
        """A NATS server of its own on this machine, and real time. `NatsBinaryMissing` when there is no `nats-server`."""
        return cls(server=EmbeddedNats(), begin=BEGIN, always_replay=always_replay, codec=codec)

    async def __aenter__(self) -> Self:
        if self._client is not None:
            raise DefinitionError("a test environment is entered once: make a new one", where="testing")
        try:
            await self._begin()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        unheard = [raised for injection in self._injections if (raised := injection.drop()) is not None]
        await self._end()
        if unheard and error is None:
            raise unheard[0]

    async def _begin(self) -> None:
        if self._embedded is not None:
            await self._embedded.start()
        if self._time is not None:
            self._time.begin()
            self._memory = MemoryServer(self._time)
        self._outside = contextvars.copy_context()
        ownership = Ownership()
        ownership.begin()
        self._ownership = ownership
        if self._codec is not None:
            await self._codec.prepare()
        self._client = await self.connect(self._codec)
        await init(self._client.transport)

    async def _end(self) -> None:
        try:
            for restart in self._restarts:
                restart.cancel()
            for process in self._processes:
                if process.alive:
                    await process.stop()
            if self._client is not None:
                await self._client.close()
        finally:
            if self._ownership is not None:
                self._ownership.end()
            if self._time is not None:
                self._time.end()
            if self._embedded is not None:
                await self._embedded.stop()

    async def _connect(self, name: str) -> MemoryTransport | JetStreamTransport:
        if self._memory is not None:
            return self._memory.connect(name)
        assert self._embedded is not None
        return await JetStreamTransport.connect(self._embedded.url)

    # -- the engine

    async def connect(self, codec: Codec | None = None) -> Client:
        """Another client, with a codec of its own or without one; the caller closes it."""
        real = self._time is None
        return Client(await self._connect("client"), clock=self._clock, looks_again=real, reads_server_clock=real, codec=codec)

    @property
    def client(self) -> Client:
        """A client of this environment: `await order.enqueue(env.client, …)`."""
        if self._client is None:
            raise DefinitionError("enter the test environment first: `async with TestEnvironment.in_memory() as env`", where="testing")
        return self._client

    async def worker(self, *definitions: Definition, **options: Any) -> Worker:
        """Start a worker that serves these workflows, tasks and actors, and all that is stubbed. It stops with the environment.

        `options` are those of `Worker` (`queue`, `cached_runs`, …).
        """
        stubbed = tuple(stub.task for stub in self._bodies.stubs.values() if stub.task not in definitions)
        return (await self._start(definitions + stubbed, options)).worker

    async def _start(self, definitions: tuple[Definition, ...], options: dict[str, Any]) -> Process:
        _ = self.client
        options = {"id": f"worker-{len(self._processes) + 1}", "always_replay": self._always_replay, "codec": self._codec, **options}
        if self._time is not None:
            options.setdefault("reports", False)
        process = Process(self._connect, self._subjects, self._clock, self._bodies, self._on_planned, definitions, options)
        self._processes.append(process)
        await process.start()
        return process

    @overload
    async def run(
        self, workflow: Workflow[None, Output], payload: None = None, *, idempotency_key: str | None = None, timeout: Duration | None = None
    ) -> Output: ...
    @overload
    async def run(
        self, workflow: Workflow[Input, Output], payload: Input, *, idempotency_key: str | None = None, timeout: Duration | None = None
    ) -> Output: ...

    async def run(
        self, workflow: Workflow[Any, Output], payload: Any = None, *, idempotency_key: str | None = None, timeout: Duration | None = None
    ) -> Output:
        """Start a run and wait for its result. Raises what `wait_for_completion` does."""
        handle = await workflow.enqueue(self.client, payload, idempotency_key=idempotency_key)
        return await handle.wait_for_completion(timeout=timeout)

    # -- time

    def now(self) -> datetime:
        """The instant, in UTC: of virtual time, or really."""
        return datetime.fromtimestamp(self._clock.now(), UTC)

    async def advance(self, duration: Duration) -> None:
        """Let time pass: at once in virtual time, else really. All that is due meanwhile happens, in its order."""
        await asyncio.sleep(seconds(duration, "the duration"))

    def at(self, instant: datetime) -> Moment:
        """The moment at which something is to be done to a run: `env.at(due).cancel(handle)`. One that has passed is now."""
        if instant.tzinfo is None:
            raise DefinitionError("an instant needs a time zone: datetime(…, tzinfo=UTC)", where="testing")
        return self._moment(instant.timestamp())

    def after(self, duration: Duration) -> Moment:
        """The same, counted from now: `env.after(timedelta(days=3)).send(handle, paid, Payment(…))`."""
        return self._moment(self._clock.now() + seconds(duration, "the duration"))

    def _moment(self, at: float) -> Moment:
        _ = self.client

        def begin(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
            return asyncio.get_running_loop().create_task(work, context=self._outside)

        return Moment(self._clock, at, begin, self._injections)

    # -- tasks

    def stub(
        self,
        task: Task[Input, Output, ..., Any],
        *outcomes: Output | BaseException | type[BaseException] | Callable[..., Output | Awaitable[Output]],
    ) -> Stub[Input]:
        """From now on `task` does not run: its attempts have these outcomes one after another, the last one for ever.

        An outcome is a result, an exception (class) to raise, or a function, plain or async, of the payload and, if it takes two, the
        `TaskContext`. Results must be of the task's type: `PayloadError`. The task's own retry strategy holds. A worker that is started
        later serves the task without being told.
        """
        stub = Stub(task, outcomes)
        if any(process.alive and task not in process.definitions for process in self._processes) and not any(
            process.alive and task in process.definitions for process in self._processes
        ):
            raise DefinitionError(f"no worker serves task {task.name!r}: stub it before env.worker(…), or give it to that", where="stub")
        self._bodies.stubs[task.name] = stub
        return stub

    def body_runs(self, task: Task[Any, Any, ..., Any] | str) -> int:
        """How many times the body of a task (or its stub), or of the `ctx.step` with this name, was begun."""
        return self._bodies.runs.get(task if isinstance(task, str) else task.name, 0)

    # -- crashes

    async def crash_worker(self, worker: Worker | None = None) -> None:
        """Kill a worker (default: the one started last) as SIGKILL does: what it has not committed or sent is lost.

        Its asyncio tasks are cancelled, which their `finally` blocks see; threads go on, as nobody can stop them.
        """
        process = self._living(worker)
        process.kill()
        await process.buried()

    async def restart_worker(self) -> Worker:
        """Start a worker like the one that was started last."""
        if not self._processes:
            raise DefinitionError("there was no worker yet: env.worker(…)", where="testing")
        return (await self._again(self._processes[-1])).worker

    def crash_before_commit(self, number: int = 1, *, restart: bool = False) -> PlannedCrash:
        """Kill the worker that was started last when it is about to write its `number`-th commit from now on.

        That commit does not happen. `restart`: a worker like it takes its place.
        """
        return self._plan(number, "before", restart)

    def crash_after_commit(self, number: int = 1, *, restart: bool = False) -> PlannedCrash:
        """Kill the worker that was started last when its `number`-th commit from now on is stored, before it does anything else."""
        return self._plan(number, "after", restart)

    def _plan(self, number: int, when: When, restart: bool) -> PlannedCrash:
        planned = PlannedCrash(number, when, restart=restart)
        self._living(None).commits.planned.append(planned)
        return planned

    def _on_planned(self, process: Process, planned: PlannedCrash) -> None:
        process.kill()
        restart = asyncio.get_running_loop().create_task(self._after_crash(process, planned), context=self._outside)
        self._restarts.add(restart)
        restart.add_done_callback(self._restarts.discard)

    async def _after_crash(self, process: Process, planned: PlannedCrash) -> None:
        await process.buried()
        if planned.restart:
            await self._again(process)
        planned.done()

    async def _again(self, process: Process) -> Process:
        options = {name: value for name, value in process.options.items() if name != "id"} | {"codec": process.codec}
        return await self._start(process.definitions, options)

    def _living(self, worker: Worker | None) -> Process:
        for process in reversed(self._processes):
            if process.alive and (worker is None or process.worker is worker):
                return process
        raise DefinitionError("no such worker is alive", where="testing")

    # -- when nothing moves

    def _what_waits(self) -> str:
        stream = None if self._memory is None else self._memory.streams.get(self._subjects.runs_stream)
        if stream is None:
            return ""
        lines = []
        prefix = self._subjects.runs_prefix
        for subject in stream.subjects(prefix + "*"):
            stored = stream.last(subject)
            if stored is None or not stored.data:
                continue
            transport = self.client.transport
            data = transport.open(subject, stored.data) if isinstance(transport, SealedTransport) else stored.data
            if not is_final((state := peek_state(data)).status):
                lines.append(_waits(state))
        return "\n".join(lines) or "(no run has begun and not ended: is its workflow given to env.worker(…)?)"


def _waits(state: RunState) -> str:
    steps = ", ".join(sorted({step.name for step in state.pending}))
    served = f" of {steps} (given to env.worker(…)?)" if steps else ""
    return f"run {state.run_id} of workflow {state.workflow!r}: {state.status}{served}"
