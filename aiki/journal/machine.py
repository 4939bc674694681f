"""The run machine: one run's code and journal, without I/O, clock or threads.

    (state, messages, now) -> (state', steps to run here, messages to send)

`begin` starts the workflow's code, or replays it over the journal. `apply` takes a message; `advance` lets time pass. Afterwards `state`
holds what must be committed (`dirty` tells whether anything must), its outbox included, and `take_local` names the steps that the host is
to run itself.

Replay is content-addressed. A step's address is its name with the hash of its input (or its idempotency key); the n-th call with an address
takes the n-th ordinal. Recorded outcomes are resolved in the order in which they were recorded, and the loop is drained after each, so
races inside the code end as they did. An outcome whose step has not been issued when its turn comes waits until the code issues it:
reordered code replays as well.
"""

import asyncio
import heapq
import random
from collections.abc import Callable, Coroutine, Sequence
from hashlib import blake2b
from typing import Any

from aiki.journal.loop import DeterministicLoop
from aiki.journal.operation import Body, Operation, Outcome, StepId, StepOptions, keyed_address
from aiki.journal.state import (
    Alarm,
    Entry,
    OutAlarm,
    OutDispatch,
    PendingStep,
    RecordedStep,
    Retried,
    RunState,
    StepKind,
    Tick,
    Woken,
    encode_entry,
)
from aiki.schema import content_hash
from aiki.types.errors import IdempotencyConflict, NonDeterminismError, WorkflowStuck, WorkflowTimedOut
from aiki.types.failure import ErrorInfo
from aiki.types.messages import Ended, EndSleep, Mail, Resume, Start, StepFailedOnce, StepResult, Wake, kept_attempts
from aiki.types.retry import Retry
from aiki.types.states import State, is_final

__all__ = ["Program", "RunMachine"]

Program = Callable[["RunMachine"], Coroutine[Any, Any, bytes]]
"""A workflow's code: from the machine, through which it issues steps, to its encoded result."""


class RunMachine:
    """The live activation of one run. Not re-entrant: one turn at a time."""

    def __init__(
        self,
        state: RunState,
        program: Program,
        *,
        history: Sequence[Entry] = (),
        retry: Retry | None = None,
        timeout: float | None = None,
        deadline: float | None = None,
    ) -> None:
        self.state = state
        self.dirty = False
        self.replaying = False
        self.restart = False
        """The code is to begin anew: commit, and make a new machine from the state."""
        seed = int.from_bytes(blake2b(state.run_id.encode(), digest_size=6).digest(), "big")
        self.loop = DeterministicLoop.new(seed)
        self._program = program
        self._retry = retry or Retry.never()
        self._history = history
        self._began = state.started_at
        self._timeout = timeout
        self._last_instant = None if deadline is None else state.started_at + deadline
        self._main: asyncio.Task[bytes] | None = None
        self._ordinals: dict[str, int] = {}
        self._operations: dict[StepId, Operation] = {}
        self._pending: dict[StepId, PendingStep] = {(step.address, step.ordinal): step for step in state.pending}
        self._unconsumed: dict[StepId, tuple[int, RecordedStep]] = {}
        self._optional = 0
        """How many of the unconsumed belong to earlier attempts of the workflow, which later code need not take up."""
        self._optional_before = 0
        self._woken_by = {entry.id for entry in history if isinstance(entry, Woken)}
        self._late: list[tuple[int, StepId]] = []
        self._new: list[Operation] = []
        self._local: list[Operation] = []
        self._evicted = False

    # -- turns

    def begin(self, now: float) -> None:
        """Start the code, or replay it up to where the journal ends, and let it go on as far as it can."""
        if is_final(self.state.status):
            return
        entries = self._prepare_history()
        self._main = self.loop.create_task(self._program(self), name="workflow")
        self.replaying = bool(entries)
        try:
            self.loop.drain()
            for index, entry in entries:
                self._replay(index, entry)
            self._history = ()
            self.replaying = False
            if self.state.retry_at is None:
                self._settle(self._instant(now))
            else:
                self._hold_new()
        except WorkflowStuck as error:
            self._end_attempt(error, self._instant(now))

    def apply(self, message: Mail, now: float) -> None:
        """Take one message. One that was applied before, or that the run no longer waits for, changes nothing."""
        if is_final(self.state.status):
            return
        now = self._instant(now)
        self._check_limits(now)
        if is_final(self.state.status):
            return
        match message:
            case StepResult():
                self._record(message, now)
            case StepFailedOnce():
                self._postpone(message, now)
            case Wake():
                self._wake(message, now)
            case EndSleep():
                self._end_sleep(message, now)
            case Start() | Resume() | Ended():
                pass

    def advance(self, now: float) -> None:
        """Let time pass: timers of the code fire, and retries that are due begin."""
        if is_final(self.state.status) or self.restart:
            return
        now = self._instant(now)
        self._check_limits(now)
        if is_final(self.state.status):
            return
        if self.state.retry_at is not None:
            if self.state.retry_at <= now:
                self._begin_again(now)
            return
        for pending in self._pending.values():
            if pending.due is not None and pending.due <= now and pending.kind == "local":
                pending.due = None
                if (operation := self._operations.get((pending.address, pending.ordinal))) is not None:
                    self._local.append(operation)
        timer = self.loop.next_timer()
        if timer is not None and timer <= now:
            self._append(Tick(now))
            self._guarded(lambda: self.loop.advance(now), now)

    def fail(self, error: Exception, now: float) -> None:
        """End the run with an error that is not its code's."""
        if not is_final(self.state.status):
            self.state.error = ErrorInfo.of(error)
            self._final("failed", self._instant(now))

    def deadline(self) -> float | None:
        """The next instant at which `advance` would do something; None: nothing is waiting for time."""
        if is_final(self.state.status) or self.restart:
            return None
        limit = self._last_instant
        if self.state.retry_at is not None:
            return self.state.retry_at if limit is None else min(limit, self.state.retry_at)
        if self._timeout is not None and (limit is None or self._began + self._timeout < limit):
            limit = self._began + self._timeout
        timer = self.loop.next_timer()
        if limit is not None and (timer is None or limit < timer):
            timer = limit
        for pending in self._pending.values():
            if pending.due is not None and pending.kind == "local" and (timer is None or pending.due < timer):
                timer = pending.due
        return timer

    def arm(self) -> None:
        """Owe an alarm for the next deadline, unless one that comes by then is set already."""
        due = self.deadline()
        if due is None or any(alarm.due <= due for alarm in self.state.alarms):
            return
        serial = self._next_serial()
        self.state.alarms.append(Alarm(serial, due))
        self.state.outbox.append(OutAlarm(serial, due))
        self.dirty = True

    def take_local(self) -> list[Operation]:
        """The local steps that are to begin now; each is handed out once, unless its outcome has come meanwhile."""
        ready, self._local = [operation for operation in self._local if operation.id in self._pending], []
        return ready

    def pending(self, id: StepId) -> PendingStep | None:
        """A step that has no outcome yet."""
        return self._pending.get(id)

    @property
    def issued(self) -> set[StepId]:
        """All steps that this attempt's code has called so far. Code that is deterministic calls the same ones at each replay."""
        ordinals = {(address, number) for address, count in self._ordinals.items() for number in range(count)}
        return ordinals | self._operations.keys()

    def snapshot(self, now: float) -> RunState:
        """The state to commit."""
        state = self.state
        state.updated_at = self._instant(now)
        state.pending = list(self._pending.values())
        if not is_final(state.status):
            state.status = self._status()
        return state

    def evict(self) -> None:
        """Abandon the code. The state stays what it is."""
        self._evicted = True
        self.loop.dispose()
        self._operations.clear()
        self._local.clear()

    # -- called by workflow code, through its context

    def issue(
        self, kind: StepKind, name: str, input: bytes, content: str, options: StepOptions, body: Body | None = None
    ) -> "asyncio.Future[Outcome]":
        """Issue a step; the future has its outcome once that is recorded. `content` is the hash of the canonical input."""
        if self._evicted:
            return self.loop.create_future()  # raises RunEvicted
        if options.key is None:
            address = f"{name}:{content}"
            ordinal = self._ordinals.get(address, 0)
            self._ordinals[address] = ordinal + 1
        else:
            address, ordinal = keyed_address(name, options.key), 0
        future: asyncio.Future[Outcome] = self.loop.create_future()
        id = (address, ordinal)
        operation = self._operations.get(id)
        if operation is not None:  # the same idempotency key again: one step, shared
            self._check_same(operation.input, input, name, options.key)
            if operation.outcome is not None:
                future.set_result(operation.outcome)
            else:
                operation.futures.append(future)
            return future
        operation = Operation(id, kind, name, input, options, body)
        operation.futures.append(future)
        self._operations[id] = operation
        if (recorded := self._unconsumed.get(id)) is not None:
            self._check_same(recorded[1].input, input, name, options.key)
            heapq.heappush(self._late, (recorded[0], id))
        elif id not in self._pending:
            self._new.append(operation)
        else:
            pending = self._pending[id]
            self._check_same(pending.input, input, name, options.key)
            if pending.kind == "local":
                self._take_up_local(pending, operation)
        return future

    @property
    def silent(self) -> bool:
        """What the code says now has been said before, or is of no consequence."""
        return self.replaying or self._evicted

    @property
    def now(self) -> float:
        """The instant of the present turn."""
        return self.loop.time()

    def _take_up_local(self, pending: PendingStep, operation: Operation) -> None:
        if operation.kind == "task":
            # It was a local step when it was issued; a dispatched one stays with its worker in the opposite case.
            if self.state.retry_at is None:
                pending.kind, pending.queue = "task", operation.options.queue
                self._dispatch(pending, pending.due)
        elif pending.due is None:
            self._local.append(operation)

    # -- replay

    def _prepare_history(self) -> list[tuple[int, Entry]]:
        """The journal as the present attempt of the workflow sees it, and its clock set to where that attempt began."""
        began = self.state.started_at
        entries: list[tuple[int, Entry]] = []
        for index, entry in enumerate(self._history):
            if isinstance(entry, Retried):
                began = self._began = entry.at
                entries = [(i, e) for i, e in entries if isinstance(e, RecordedStep) and e.error is None]
                self._optional_before = index
            else:
                entries.append((index, entry))
        self.loop.advance(began)
        for index, entry in entries:
            if isinstance(entry, RecordedStep):
                self._unconsumed[entry.address, entry.ordinal] = (index, entry)
                self._optional += index < self._optional_before
        # Steps are resolved at their place in the journal, not when they are issued, unless that place has passed.
        self._late.clear()
        return entries

    def _replay(self, index: int, entry: Entry) -> None:
        self.loop.advance(entry.at)
        self._resolve_late(index)
        if isinstance(entry, RecordedStep):
            id = (entry.address, entry.ordinal)
            if id in self._operations and id in self._unconsumed:
                self._consume(id)
                self._resolve_late(index)
        elif isinstance(entry, Woken):
            self.loop.end_sleep()
            self._resolve_late(index)

    def _resolve_late(self, before: float) -> None:
        """Resolve outcomes whose place in the journal has passed when their step was issued, earliest first."""
        while self._late and self._late[0][0] < before:
            _, id = heapq.heappop(self._late)
            if id in self._unconsumed:
                self._consume(id)

    def _consume(self, id: StepId) -> None:
        index, entry = self._unconsumed.pop(id)
        self._optional -= index < self._optional_before
        self._operations[id].resolve(Outcome(entry.value, entry.error, entry.failed))
        if entry.address[len(entry.name)] == ":":
            del self._operations[id]
        self.loop.drain()

    # -- progress

    def _guarded(self, progress: Callable[[], object], now: float) -> None:
        try:
            progress()
            self._settle(now)
        except WorkflowStuck as error:
            self._end_attempt(error, now)

    def _record(self, message: StepResult, now: float) -> None:
        id = (message.address, message.ordinal)
        pending = self._pending.get(id)
        if pending is None or pending.serial != message.serial:
            return
        del self._pending[id]
        entry = RecordedStep(
            message.address,
            message.ordinal,
            pending.kind,
            pending.name,
            pending.input,
            pending.issued_at,
            now,
            message.value,
            message.error,
            message.started_at,
            message.worker,
            kept_attempts(pending.failed + message.failed),
            pending.queue,
        )
        index = self._append(entry)
        if self.state.retry_at is not None or self.restart:
            return
        self._unconsumed[id] = (index, entry)
        self._guarded(lambda: self._replay(index, entry), now)

    def _postpone(self, message: StepFailedOnce, now: float) -> None:
        """Attempts failed; the next one is due later than anybody should wait for it in memory."""
        pending = self._pending.get((message.address, message.ordinal))
        if pending is None or pending.serial != message.serial:
            return
        if pending.kind == "local" and pending.due is not None:
            return
        pending.failed = kept_attempts(pending.failed + message.failed)
        pending.due = now + message.delay
        self.dirty = True
        if pending.kind == "task":
            self._dispatch(pending, pending.due)

    def _end_sleep(self, message: EndSleep, now: float) -> None:
        if message.id in self._woken_by or not self._goes_on():
            return
        self.advance(now)
        if not self._goes_on() or not self.loop.sleeps:
            return
        self._woken_by.add(message.id)
        entry = Woken(now, message.id)
        index = self._append(entry)
        self._guarded(lambda: self._replay(index, entry), now)

    def _wake(self, message: Wake, now: float) -> None:
        alarms = [alarm for alarm in self.state.alarms if alarm.serial != message.serial]
        if len(alarms) != len(self.state.alarms):
            self.state.alarms = alarms
            self.dirty = True
        # The alarm itself says that its instant has come, whatever this host's clock shows.
        self.advance(max(now, message.due))

    def _settle(self, now: float) -> None:
        """The loop is drained: take up what the code has issued, and see whether it has ended."""
        self._resolve_late(float("inf"))
        main = self._main
        assert main is not None
        if main.done():
            self._finish(main, now)
            return
        if self._new:
            if len(self._unconsumed) > self._optional:
                self._end_attempt(self._non_determinism(), now)
                return
            new, self._new = self._new, []
            for operation in new:
                step = self._pend(operation, now)
                self._pending[operation.id] = step
                if operation.kind == "task":
                    self._dispatch(step, None)
                else:
                    # A step that must not begin twice is written before it begins once.
                    self.dirty |= operation.options.retry is not None and operation.options.retry.on_crash == "fail"
                    self._local.append(operation)
        if self.loop.next_timer() is None and not any(step.kind == "task" or id in self._operations for id, step in self._pending.items()):
            raise WorkflowStuck("the code waits for something that can never come: no step, timer or message is outstanding")

    def _hold_new(self) -> None:
        """Between two attempts of the workflow nothing is issued."""
        self._new.clear()
        self._local.clear()

    def _pend(self, operation: Operation, now: float) -> PendingStep:
        options = operation.options
        return PendingStep(
            operation.id[0],
            operation.id[1],
            operation.kind,
            operation.name,
            operation.input,
            now,
            options.queue,
            options.retry,
            options.timeout,
            options.key,
        )

    def _dispatch(self, step: PendingStep, due: float | None) -> None:
        step.serial = self._next_serial()
        self.state.outbox.append(OutDispatch(step.serial, step.address, step.ordinal, due))
        self.dirty = True

    # -- ends

    def _finish(self, main: "asyncio.Task[bytes]", now: float) -> None:
        if main.cancelled():
            self._end_attempt(asyncio.CancelledError("the workflow cancelled itself"), now)
        elif (error := main.exception()) is not None:
            self._end_attempt(error, now)
        else:
            self.state.result = main.result()
            self._final("completed", now)

    def _check_limits(self, now: float) -> None:
        """What takes too long ends, also when this is noticed late: whatever came in the meantime came too late."""
        if self._last_instant is not None and self._last_instant <= now:
            self.state.error = ErrorInfo.of(WorkflowTimedOut(f"the run took longer than {self._last_instant - self.state.started_at:g} s"))
            self._final("timed_out", now)
        elif self._timeout is not None and self.state.retry_at is None and not self.restart and self._began + self._timeout <= now:
            self._end_attempt(WorkflowTimedOut(f"attempt {self.state.attempt} took longer than {self._timeout:g} s"), now)

    def _end_attempt(self, error: BaseException, now: float) -> None:
        """The code failed: begin again later if the workflow's strategy says so, else the run has failed."""
        info = ErrorInfo.of(error)
        self.state.error = info
        chance = random.Random(f"{self.state.run_id}/{self.state.attempt}")
        final = isinstance(error, NonDeterminismError | WorkflowStuck)
        delay = None if final else self._retry.next_delay(self.state.attempt, error, chance)
        if delay is None:
            self._final("timed_out" if isinstance(error, WorkflowTimedOut) else "failed", now)
            return
        self._hold_new()
        self.state.retry_at = now + delay
        self.dirty = True

    def _begin_again(self, now: float) -> None:
        assert self.state.error is not None
        self._append(Retried(now, self.state.error))
        self.state.attempt += 1
        self.state.retry_at = None
        self.restart = True

    def _final(self, status: State, now: float) -> None:
        state = self.state
        state.status = status
        state.finished_at = now
        state.outbox.clear()
        self._pending.clear()
        if status == "completed":
            state.error = None
        self._local.clear()
        self._new.clear()
        self.dirty = True

    # -- small parts

    def _goes_on(self) -> bool:
        """Whether the present attempt of the code goes on."""
        return not is_final(self.state.status) and self.state.retry_at is None and not self.restart

    def _instant(self, now: float) -> float:
        """Time as the run sees it: hosts' clocks differ, but its journal never goes back."""
        return max(now, self.state.updated_at, self.loop.time())

    def _append(self, entry: Entry) -> int:
        """Record, and answer the entry's place in the whole journal."""
        state = self.state
        state.entries.append(encode_entry(entry))
        self.dirty = True
        return len(state.entries) - 1 + (state.sealed[-1] if state.sealed else 0)

    def _next_serial(self) -> int:
        self.state.serial += 1
        return self.state.serial

    def _status(self) -> State:
        if self.state.retry_at is not None:
            return "awaiting_retry"
        waiting = False
        for step in self._pending.values():
            if step.due is not None:
                waiting = True
            elif step.kind == "task":
                return "awaiting_task"
            else:
                return "running"
        if waiting:
            return "awaiting_retry"
        return "sleeping" if self.loop.next_timer() is not None else "running"

    def _check_same(self, recorded: bytes, issued: bytes, name: str, key: str | None) -> None:
        if key is not None and recorded != issued and content_hash(recorded) != content_hash(issued):
            raise IdempotencyConflict(
                f"step {name!r} was called with idempotency key {key!r} before, with another input",
                key=key,
                run_id=self.state.run_id,
            )

    def _non_determinism(self) -> NonDeterminismError:
        recorded = [f"{step.name} ({step.address}, call {step.ordinal + 1})" for _, step in self._unconsumed.values()]
        issued = [f"{operation.name} ({operation.id[0]}, call {operation.id[1] + 1})" for operation in self._new]
        return NonDeterminismError(
            "the code does not fit the recorded journal\n"
            + "  recorded, but not issued by the code:\n"
            + "".join(f"    {line}\n" for line in recorded[:10])
            + "  issued by the code, but not recorded:\n"
            + "".join(f"    {line}\n" for line in issued[:10])
            + "Was the workflow changed without a new version?",
            recorded=recorded,
            issued=issued,
        )
