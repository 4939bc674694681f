"""The steps of one run: what its code has issued, what has been recorded, and what is still outstanding.

Replay is content-addressed. A step's address is its name with the hash of its input (or its idempotency key); the n-th call with an address
takes the n-th ordinal. Recorded outcomes are resolved in the order in which they were recorded, and the loop is drained after each, so
races inside the code end as they did. An outcome whose step has not been issued when its turn comes waits until the code issues it:
reordered code replays as well.
"""

import asyncio
import heapq
import math
from collections.abc import Iterable

import msgspec

from aiki.journal.expiry import limit_of, next_instant, timed_out
from aiki.journal.loop import DeterministicLoop
from aiki.journal.mismatch import Call, mismatch
from aiki.journal.operation import Body, Operation, Outcome, StepId, StepOptions, keyed_address
from aiki.journal.record import Record
from aiki.journal.state import (
    ChildRun,
    Entry,
    OutChild,
    OutClose,
    OutDispatch,
    OutWithdrawal,
    PendingStep,
    RecordedStep,
    StepKind,
)
from aiki.schema import content_hash, salted
from aiki.types.admission import hidden, place_of
from aiki.types.errors import (
    ChildCancelled,
    ChildFailed,
    ChildTimedOut,
    DefinitionError,
    IdempotencyConflict,
    NonDeterminismError,
    TaskCancelled,
)
from aiki.types.failure import ErrorInfo
from aiki.types.identifiers import child_run_id, keyed_run_id
from aiki.types.messages import NOT_BEGUN, Attempt, CacheMissed, Ended, StepBegun, StepFailedOnce, StepResult, kept_attempts

__all__ = ["Steps"]


class Steps:
    """Belongs to one machine: `issue` is called by workflow code, everything else by the machine."""

    def __init__(self, record: Record, loop: DeterministicLoop) -> None:
        self._record = record
        self._loop = loop
        self._ordinals: dict[str, int] = {}
        self._operations: dict[StepId, Operation] = {}
        self._pending: dict[StepId, PendingStep] = {}
        self._left: dict[StepId, PendingStep] = {}
        """Those of code that is gone: sub-workflows that have not ended."""
        self._unconsumed: dict[StepId, tuple[int, RecordedStep, bool]] = {}
        """With their places in the journal, and whether they are optional."""
        self._optional = 0
        """How many of the unconsumed belong to earlier attempts of the workflow, which later code need not take up."""
        self._optional_before = 0
        self._began = 0.0
        self.late: list[tuple[int, StepId]] = []
        """Issued after their place in the journal had passed: `resolve_late` has something to do."""
        self._new: list[Operation] = []
        self._local: list[Operation] = []
        self.ended = False
        """Some were withdrawn, or their time was over: their bodies are to be stopped."""
        self.earliest = math.inf
        """No step's time is over before this instant: most turns need not look at every step."""
        self.timed = False
        """Whether any step has ever waited for an instant: else nothing is due, now or later."""
        for step in record.state.pending:
            (self._left if step.left else self._pending)[step.address, step.ordinal] = step
            self._bound(step)
        generation = record.state.generation
        self._generation = f"{generation}." if generation else ""
        """Tells the steps of a generation from the same ones of those before: their idempotency keys and children are others."""

    # -- called by workflow code

    def issue(
        self, kind: StepKind, name: str, input: bytes, content: str, options: StepOptions, body: Body | None
    ) -> "tuple[Operation, asyncio.Future[Outcome]]":
        """The future has the step's outcome once that is recorded. `content` is the hash of the canonical input."""
        if options.key is None:
            address = f"{name}:{self._generation}{salted(content, self._record.state.salt)}"
            ordinal = self._ordinals.get(address, 0)
            self._ordinals[address] = ordinal + 1
        else:
            address, ordinal = keyed_address(name, self._generation + options.key), 0
        future: asyncio.Future[Outcome] = self._loop.create_future()
        id = (address, ordinal)
        operation = self._operations.get(id)
        if operation is not None:  # the same idempotency key again: one step, shared
            self._check_same(operation.input, input, name, options.key)
            if operation.outcome is not None:
                future.set_result(operation.outcome)
            else:
                operation.futures.append(future)
            return operation, future
        if options.child is not None:
            options = options._replace(child=self._identified(options.child, id))
        operation = Operation(id, kind, name, input, options, body)
        operation.futures.append(future)
        self._operations[id] = operation
        if (recorded := self._unconsumed.get(id)) is not None:
            self._check_same(recorded[1].input, input, name, options.key)
            heapq.heappush(self.late, (recorded[0], id))
        elif id not in self._pending:
            self._new.append(operation)
        else:
            pending = self._pending[id]
            self._check_same(pending.input, input, name, options.key)
            if pending.kind == "local":
                self._take_up_local(pending, operation)
        return operation, future

    def _identified(self, child: ChildRun, id: StepId) -> ChildRun:
        """With the run's id: of the one that is under way or has ended well, else of one that this attempt of the workflow starts."""
        if (pending := self._pending.get(id)) is not None and pending.child is not None:
            return pending.child
        if (recorded := self._unconsumed.get(id)) is not None and recorded[1].child:
            return msgspec.structs.replace(child, run_id=recorded[1].child)
        state = self._record.state
        parent = state.run_id
        origin = f"{parent}\0{state.salt.hex()}" if state.salt else parent
        number = f"{state.resets}/{id[1]}" if state.resets else id[1]
        run_id = child_run_id(origin, id[0], number, state.attempt) if child.key is None else keyed_run_id(child.workflow, child.key)
        if run_id == parent:
            raise DefinitionError(f"run {parent} cannot be its own child: the idempotency key {child.key!r} is its own", where="child")
        return msgspec.structs.replace(child, run_id=run_id)

    def _take_up_local(self, pending: PendingStep, operation: Operation) -> None:
        if operation.kind == "task":
            if operation.looks_first and pending.due is None and not pending.failed:
                self._local.append(operation)  # the host that looked for a cached result is gone: look again
            # It was a local step when it was issued; a dispatched one stays with its worker in the opposite case.
            elif self._record.state.retry_at is None:
                pending.kind, pending.queue = "task", operation.options.queue
                pending.place = self._place(operation, pending.issued_at)
                # While it replays, the loop's time is that of the journal, so the last commit says better what time it is.
                self._dispatch(pending, pending.due, max(self._loop.time(), self._record.state.updated_at))
        elif pending.due is None:
            self._local.append(operation)

    def _check_same(self, recorded: bytes, issued: bytes, name: str, key: str | None) -> None:
        if key is not None and recorded != issued and content_hash(recorded) != content_hash(issued):
            raise IdempotencyConflict(
                f"step {name!r} was called with idempotency key {key!r} before, with another input",
                key=key,
                run_id=self._record.state.run_id,
            )

    # -- what there is

    @property
    def issued(self) -> set[StepId]:
        """All steps that this attempt's code has called so far. Code that is deterministic calls the same ones at each replay."""
        ordinals = {(address, number) for address, count in self._ordinals.items() for number in range(count)}
        return ordinals | self._operations.keys()

    @property
    def outstanding(self) -> Iterable[PendingStep]:
        """Those without an outcome, in the order in which they were issued."""
        return self._pending.values()

    @property
    def left(self) -> Iterable[PendingStep]:
        """Those of code that is gone."""
        return self._left.values()

    @property
    def awaited(self) -> bool:
        """Whether an outcome can still come that the code waits for."""
        for id, step in self._pending.items():  # noqa: SIM110 (a generator costs three calls more, at each turn)
            if step.kind != "local" or id in self._operations:
                return True
        return False

    def pending(self, id: StepId) -> PendingStep | None:
        """A step that has no outcome yet."""
        return self._pending.get(id) or self._left.get(id)

    def take_local(self) -> list[Operation]:
        """The local steps that are to begin now; each is handed out once, unless its outcome has come meanwhile."""
        taken, self._local = self._local, []
        # One for which no cached result was found has been sent meanwhile.
        return [each for each in taken if (pending := self._pending.get(each.id)) is not None and pending.kind == "local"]

    # -- replay

    def prepare(self, entries: Iterable[tuple[int, Entry]], optional_before: int, began: float) -> None:
        """The journal that is about to be replayed.

        What stands before place `optional_before` need not be taken up, nor what was issued before this attempt `began`.
        """
        self._optional_before = optional_before
        self._began = began
        for index, entry in entries:
            if isinstance(entry, RecordedStep):
                optional = self._is_optional(index, entry)
                self._unconsumed[entry.address, entry.ordinal] = (index, entry, optional)
                self._optional += optional
        # Steps are resolved at their place in the journal, not when they are issued, unless that place has passed.
        self.late.clear()

    def _is_optional(self, index: int, entry: RecordedStep) -> bool:
        """An earlier attempt of the workflow has issued it."""
        return index < self._optional_before or (self._optional_before > 0 and entry.issued_at <= self._began)

    def recorded(self, index: int, entry: RecordedStep) -> None:
        """A record of this very moment joins the others."""
        id = (entry.address, entry.ordinal)
        if id not in self._unconsumed:
            optional = self._is_optional(index, entry)
            self._optional += optional
            self._unconsumed[id] = (index, entry, optional)

    def resolve(self, id: StepId) -> None:
        """The journal has come to this step: its outcome goes to the code, if that has issued it."""
        if id in self._operations and id in self._unconsumed:
            self._consume(id)

    def resolve_late(self, before: float) -> None:
        """Resolve outcomes whose place in the journal has passed when their step was issued, earliest first."""
        while self.late and self.late[0][0] < before:
            _, id = heapq.heappop(self.late)
            if id in self._unconsumed:
                self._consume(id)

    def _consume(self, id: StepId) -> None:
        _, entry, optional = self._unconsumed.pop(id)
        self._optional -= optional
        self._operations[id].resolve(Outcome(entry.value, entry.error, entry.failed, entry.started_at != NOT_BEGUN))
        if entry.address[len(entry.name)] == ":":
            del self._operations[id]
        self._loop.drain()

    # -- progress

    def record(self, message: StepResult, now: float) -> tuple[int, RecordedStep] | None:
        """Append an outcome to the journal; None for one that is not waited for."""
        id = (message.address, message.ordinal)
        pending = self._pending.get(id)
        if pending is None or pending.serial != message.serial:
            return None
        if message.cached and (operation := self._operations.get(id)) is not None:
            pending.kind = operation.kind
        return self._end_step(
            pending,
            now,
            message.value,
            message.error,
            started_at=message.started_at,
            worker=message.worker,
            failed=message.failed,
            cached=message.cached,
        )

    def missed(self, message: CacheMissed, now: float) -> None:
        """No cached result answers a step: send its task.

        Between two attempts of the workflow nothing is sent: the next one looks again.
        """
        id = (message.address, message.ordinal)
        pending, operation = self._pending.get(id), self._operations.get(id)
        if pending is None or operation is None or not operation.looks_first or pending.kind != "local":
            return
        if self._record.state.retry_at is None:
            pending.kind = "task"
            if pending.cache is not None:
                pending.cache = msgspec.structs.replace(pending.cache, revision=message.revision)
            self._dispatch(pending, None, now)

    def _end_step(
        self,
        pending: PendingStep,
        now: float,
        value: bytes,
        error: ErrorInfo | None,
        *,
        started_at: float = 0.0,
        worker: str = "",
        failed: tuple[Attempt, ...] = (),
        cached: bool = False,
    ) -> tuple[int, RecordedStep]:
        del self._pending[pending.address, pending.ordinal]
        entry = RecordedStep(
            pending.address,
            pending.ordinal,
            pending.kind,
            pending.name,
            pending.input,
            pending.issued_at,
            now,
            value,
            error,
            started_at,
            worker,
            kept_attempts(pending.failed + failed),
            pending.queue,
            pending.child.run_id if pending.child is not None else "",
            cached,
        )
        return self._record.append(entry), entry

    def end_child(self, message: Ended, now: float) -> tuple[int, RecordedStep] | None:
        """A sub-workflow has ended; None when it is not waited for."""
        for pending in self._pending.values():
            if pending.child is not None and pending.child.run_id == message.run_id:
                error = None if message.status == "completed" else _child_error(pending.child, message)
                return self._end_step(pending, now, message.result or b"null", error)
        for id, left in self._left.items():
            if left.child is not None and left.child.run_id == message.run_id:
                del self._left[id]
                self._record.dirty = True
                break
        return None

    def cancel(self, name: str, reason: str, now: float) -> list[tuple[int, RecordedStep]]:
        """Withdraw the outstanding steps of that name, each with an error as its outcome."""
        why = f": {reason}" if reason else ""
        found = [step for step in self._pending.values() if step.name == name]
        return [self._withdraw(step, now, f"{name!r} was cancelled{why}") for step in found]

    def withdraw_abandoned(self, now: float) -> None:
        """Withdraw the steps that nobody waits for any more, since whoever did was interrupted."""
        for id, operation in list(self._operations.items()):
            if operation.abandoned and (pending := self._pending.get(id)) is not None:
                self.recorded(*self._withdraw(pending, now, "nobody waits for it any more"))
                self._consume(id)

    def _withdraw(self, pending: PendingStep, now: float, why: str) -> tuple[int, RecordedStep]:
        if pending.kind == "child":
            self._close(pending)
        self._take_back(pending)
        return self._end_step(pending, now, b"", ErrorInfo.of(TaskCancelled(why)))

    def _take_back(self, pending: PendingStep) -> None:
        self.ended = True
        if pending.kind == "task":
            self._record.owe(OutWithdrawal(self._record.next_serial(), pending.serial, pending.name, pending.queue, pending.place))

    def _close(self, pending: PendingStep) -> None:
        if pending.child is not None and pending.child.close != "abandon":
            self._record.owe(OutClose(self._record.next_serial(), pending.address, pending.ordinal, pending.child))

    def postpone(self, message: StepFailedOnce, now: float) -> None:
        """Attempts failed; the next one is due later than anybody should wait for it in memory.

        One that would begin after the step's deadline is not waited for: the step is due to expire at once then.
        """
        pending = self._pending.get((message.address, message.ordinal))
        if pending is None or pending.serial != message.serial:
            return
        if pending.kind == "local" and pending.due is not None:
            return
        pending.failed = kept_attempts(pending.failed + message.failed)
        pending.details = message.details if message.details is not None else pending.details
        pending.due = now + message.delay
        self.timed = self._record.dirty = True
        if pending.deadline_at is not None and pending.due >= pending.deadline_at:
            pending.deadline_at = now
            self._bound(pending)
        elif pending.kind == "task":
            self._dispatch(pending, pending.due, now)

    def begin_due(self, now: float) -> None:
        """Local steps whose next attempt is due."""
        for pending in self._pending.values():
            if pending.due is not None and pending.due <= now and pending.kind == "local":
                pending.due = None
                if (operation := self._operations.get((pending.address, pending.ordinal))) is not None:
                    self._local.append(operation)

    def next_due(self) -> float | None:
        """The instant of the next attempt of a local step, or at which a step's time is over."""
        return min((instant for step in self._pending.values() if (instant := next_instant(step)) is not None), default=None)

    # -- limits

    def begun(self, message: StepBegun) -> None:
        """A worker took a dispatch up: if it did so in time, that is no longer a question of time."""
        pending = self._pending.get((message.address, message.ordinal))
        if pending is not None and pending.serial == message.serial and pending.start_by is not None and message.at < pending.start_by:
            pending.start_by = None
            self._record.dirty = True

    def take_expired(self, now: float) -> tuple[StepResult, float] | None:
        """The failure of the step whose time was over first, and when that was; None: no step's time is over.

        One that the code does not wait for is dropped: an attempt of the workflow that calls it later begins it anew.
        """
        while now >= self.earliest:
            limits = [(limit, id) for id, step in self._pending.items() if (limit := limit_of(step)) is not None]
            limit, id = min(limits, key=lambda each: each[0], default=(math.inf, ("", 0)))
            if limit > now:
                self.earliest = limit
                continue
            self._take_back(self._pending[id])
            if id in self._operations and self._record.state.retry_at is None:
                return timed_out(self._pending[id]), limit
            del self._pending[id]
            self._record.dirty = True
        return None

    def _bound(self, step: PendingStep) -> None:
        limit = limit_of(step)
        self.timed |= limit is not None or step.due is not None
        if limit is not None and limit < self.earliest:
            self.earliest = limit

    def take_up_new(self, now: float) -> None:
        """What the code has issued becomes part of the state. `NonDeterminismError` when the journal holds other steps in its place."""
        if self._new and self._loop.cancellations:
            # Issued and interrupted in one turn: it has never been.
            self._new = [operation for operation in self._new if not operation.abandoned]
        if not self._new:
            return
        if len(self._unconsumed) > self._optional:
            raise self._non_determinism()
        new, self._new = self._new, []
        for operation in new:
            step = self._pend(operation, now)
            self._pending[operation.id] = step
            self._bound(step)
            if operation.looks_first:
                self._local.append(operation)
            elif operation.kind == "task":
                self._dispatch(step, None, now)
            elif operation.kind == "child":
                step.serial = self._record.next_serial()
                self._record.owe(OutChild(step.serial, step.address, step.ordinal))
            else:
                # A step that must not begin twice is written before it begins once.
                self._record.dirty |= operation.options.retry is not None and operation.options.retry.on_crash == "fail"
                self._local.append(operation)

    def take_up_abandoned(self, now: float) -> None:
        """The code has ended in the very turn in which it started sub-workflows that are to outlive it: they begin."""
        for operation in self._new:
            if operation.options.child is not None and operation.options.child.close == "abandon":
                step = self._pending[operation.id] = self._pend(operation, now)
                step.serial = self._record.next_serial()
                self._record.owe(OutChild(step.serial, step.address, step.ordinal))

    def hold_new(self) -> None:
        """Between two attempts of the workflow nothing is issued."""
        self._new.clear()
        self._local.clear()

    def end(self, *, withdraw: bool) -> None:
        """The run has ended: nothing is outstanding any more, but for its children, whom their policies concern."""
        self.hold_new()
        for pending in self._pending.values():
            self._close(pending)
            if withdraw:
                self._take_back(pending)
            if pending.kind == "child":
                pending.left = True
                self._left[pending.address, pending.ordinal] = pending
        self._pending.clear()

    def forget(self) -> None:
        """The code is abandoned."""
        self._operations.clear()
        self._local.clear()

    def _pend(self, operation: Operation, now: float) -> PendingStep:
        options = operation.options
        limits = options.limits
        return PendingStep(
            operation.id[0],
            operation.id[1],
            "local" if operation.looks_first else operation.kind,
            operation.name,
            operation.input,
            now,
            options.queue,
            options.retry,
            options.timeout,
            options.key,
            deadline_at=None if limits.deadline is None else now + limits.deadline,
            start_timeout=limits.start_timeout,
            heartbeat=limits.heartbeat,
            child=options.child,
            cache=options.cache,
            place=self._place(operation, now),
        )

    def _dispatch(self, step: PendingStep, due: float | None, now: float) -> None:
        step.serial = self._record.next_serial()
        step.start_by = None if step.start_timeout is None else (now if due is None else due) + step.start_timeout
        self._bound(step)
        self._record.owe(OutDispatch(step.serial, step.address, step.ordinal, due))

    def _non_determinism(self) -> NonDeterminismError:
        return mismatch(
            "the code does not fit the recorded journal",
            [Call(id, index + 1) for id, (index, _, optional) in self._unconsumed.items() if not optional],
            [Call(operation.id) for operation in self._new],
            ("recorded, but not called by the code", "called by the code, but not recorded"),
            "Was the workflow changed without a new version?",
        )

    def _place(self, operation: Operation, issued_at: float) -> str:
        standing = operation.options.standing
        if not standing or operation.kind != "task":
            return ""
        return place_of(hidden(standing) if self._record.state.salt else standing, issued_at)


def _child_error(child: ChildRun, ended: Ended) -> ErrorInfo:
    kind = {"cancelled": ChildCancelled, "timed_out": ChildTimedOut}.get(ended.status, ChildFailed)
    why = f": {ended.error}" if ended.error is not None else ""
    error = ErrorInfo.of(kind(f"run {child.run_id} of workflow {child.workflow!r} {ended.status.replace('_', ' ')}{why}"))
    return msgspec.structs.replace(error, cause=ended.error)
