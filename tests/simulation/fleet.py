"""A simulated fleet: workers as processes that can die at any instant, on the in-memory transport and virtual time, under a seed."""

import asyncio
import contextvars
import random
from collections import Counter
from collections.abc import Coroutine
from typing import Any

from aiki.actors import init
from aiki.clock import VirtualClock, VirtualTimeLoop
from aiki.codec import Codec
from aiki.journal import RecordedStep, Retried, decode_entries, decode_state
from aiki.journal.operation import keyed_address
from aiki.sdk import Client, Task, TaskCancelled, TaskContext, Worker, Workflow
from aiki.sealing import SealedTransport
from aiki.transport import Ack, Faults, Headers, MemoryServer
from aiki.types.sealed import is_sealed
from aiki.types.states import is_final

__all__ = ["Fleet"]

SLACK = 1.0
"""Seconds between a host's reading of a run and the beginning of a body: a step recorded by another host in between does run twice."""

_process: contextvars.ContextVar["Process | None"] = contextvars.ContextVar("process", default=None)


class Process:
    """A worker, and every asyncio task that it has started: killing it ends them all between two awaits."""

    def __init__(self, fleet: "Fleet", number: int) -> None:
        self.fleet = fleet
        self.number = number
        self.tasks: set[asyncio.Task[Any]] = set()
        token = _process.set(self)
        self.transport = fleet.server.connect(f"worker-{number}")
        _process.reset(token)
        self.worker: Worker | None = None
        self.boot: asyncio.Future[None] | None = None

    async def start(self) -> None:
        """Boot; the boot itself may be hit by faults, then it is tried again, as a supervisor of processes would."""
        clock = self.fleet.clock_of_a_host()
        client = Client(self.transport, clock=clock, codec=self.fleet.codec_of(self.number))
        while True:
            worker = Worker(
                client,
                id=f"worker-{self.number}",
                clock=clock,
                cached_runs=self.fleet.cached_runs,
                always_replay=self.fleet.always_replay,
                **self.fleet.options,
            )
            for definition in self.fleet.definitions:
                worker.registry.add(definition)
            self.worker = worker  # it may be killed while it boots
            try:
                await worker.start()
            except Exception:
                continue
            return

    def kill(self) -> None:
        """SIGKILL: nothing of this process happens any more."""
        self.transport.crash()
        if self.worker is not None:
            self.worker.abandon()  # a dead process' memory makes no noise
        for task in list(self.tasks):
            task.cancel()


class Fleet:
    """A server, workers that die and are replaced, and an observer who sees every commit and checks what must never be broken."""

    def __init__(
        self,
        clock: VirtualClock,
        seed: int,
        definitions: list[Workflow[Any, Any] | Task[Any, Any, ..., Any] | type[Any]],
        *,
        faults: Faults,
        workers: int,
        cached_runs: int = 5000,
        always_replay: bool = False,
        skew: float = 0.0,
        codec: Codec | None = None,
        lacking: int = 0,
        **options: Any,
    ) -> None:
        self.options = options
        self.codec = codec
        """What all seal with, but every `lacking`-th process (0: none), which has no key."""
        self.lacking = lacking
        self.clock = clock
        self.skew = skew
        """Seconds by which hosts' clocks may be off, either way; `clock` itself is the server's."""
        self._skews = random.Random(f"{seed} skews")
        self.chance = random.Random(seed)
        self.definitions = definitions
        self.cached_runs = cached_runs
        self.always_replay = always_replay
        self.server = MemoryServer(clock, faults=faults, seed=seed)
        self.processes: list[Process] = []
        self.workers = workers
        self.recorded: dict[tuple[str, str, int], tuple[float, bytes, str | None]] = {}
        self.bodies: Counter[str] = Counter()
        self.repeated: list[str] = []
        """What happened that must never happen; the trial looks at the end."""
        self.begun_once: Counter[str] = Counter()
        self.results: dict[str, str] = {}
        self.commits = 0
        self._numbers = 0
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        loop.set_task_factory(_owned_task)  # type: ignore[arg-type]

    async def start(self) -> None:
        """Create the streams, start the observer and the workers."""
        faults, self.server.faults = self.server.faults, Faults()
        await init(self.server.connect("operator"))
        self._watch_store()
        self.server.faults = faults
        for _ in range(self.workers):
            await self.add()

    def codec_of(self, number: int) -> Codec | None:
        """That process's. However many have died, those without a key are not all that are left."""
        if (
            not self.lacking
            or number % self.lacking
            or any(each.number % self.lacking == 0 for each in self.processes if each.number < number)
        ):
            return self.codec
        return None

    def clock_of_a_host(self) -> VirtualClock:
        """A clock that is off by as much as chance will have it."""
        return VirtualClock(self.clock.loop, self._skews.uniform(-self.skew, self.skew)) if self.skew else self.clock

    async def add(self, kind: type[Process] = Process) -> Process:
        """Start another process: a worker, unless another kind is given."""
        self._numbers += 1
        process = kind(self, self._numbers)
        self.processes.append(process)
        token = _process.set(process)
        try:
            process.boot = asyncio.ensure_future(process.start())
        finally:
            _process.reset(token)
        return process

    async def replace(self, process: Process, after: float) -> None:
        """Kill a process; another takes its place later."""
        self.processes.remove(process)
        process.kill()
        await asyncio.sleep(after)
        await self.add(type(process))

    def began(self, task: str, context: TaskContext) -> None:
        """To be called by each body as it begins: a step that was recorded a while ago must not begin again."""
        self.bodies[task] += 1
        key = context.idempotency_key
        _, address, ordinal = key.split("/") if "/" in key else ("", keyed_address(task, key), "0")
        known = self.recorded.get((context.run_id, address, int(ordinal)))
        # What was withdrawn may begin while its withdrawal is under way: then its outcome is refused.
        if known is not None and known[2] != TaskCancelled.code and self.clock.now() - known[0] > SLACK:
            self.repeated.append(f"{key}: recorded {self.clock.now() - known[0]:.3f} s before its body began again")

    def _watch_store(self) -> None:
        store = self.server.store

        def spy(subject: str, data: bytes, headers: Headers) -> Ack:
            ack = store(subject, data, headers)
            if subject.startswith("$KV.aiki-runs-default.") and subject.count(".") == 2:
                try:
                    self._committed(self._opened(subject, data))
                except AssertionError as error:  # the transport would take it for a lost answer
                    self.repeated.append(str(error))
            return ack

        self.server.store = spy  # type: ignore[method-assign]

    def _opened(self, subject: str, data: bytes) -> bytes:
        if self.codec is None:
            return data
        assert is_sealed(data), "a commit was not sealed"
        connection: Any = None
        return SealedTransport(connection, self.codec).open(subject, data)

    def _committed(self, data: bytes) -> None:
        """Every commit: what was recorded stays, nothing is recorded twice, what has ended stays ended."""
        state = decode_state(data)
        ended = self.results.get(state.run_id)
        if (
            ended is not None
            and ended != "completed"
            and any(isinstance(each, Retried) and each.id for each in decode_entries(state.entries))
        ):
            del self.results[state.run_id]  # it was retried by request
        else:
            assert ended in (None, state.status), f"run {state.run_id} was {ended}, and then {state.status}"
        if is_final(state.status):
            self.results[state.run_id] = state.status
        self.commits += 1
        steps: Counter[tuple[str, int]] = Counter()
        for entry in decode_entries(state.entries):
            if isinstance(entry, RecordedStep):
                steps[entry.address, entry.ordinal] += 1
                key = (state.run_id, entry.address, entry.ordinal)
                code = entry.error.code if entry.error is not None else None
                before = self.recorded.setdefault(key, (self.clock.now(), entry.value, code))
                assert before[1] == entry.value, f"{key}: a recorded step changed from {before[1]!r} to {entry.value!r}"
        twice = [step for step, count in steps.items() if count > 1]
        assert not twice, f"run {state.run_id}: recorded twice: {twice}"


def _owned_task(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:
    task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **options)
    process = _process.get()
    if process is not None:
        process.tasks.add(task)
        task.add_done_callback(process.tasks.discard)
    return task
