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

from aiki.journal.expiry import limit_of, next_instant, timed_out
from aiki.journal.loop import DeterministicLoop
from aiki.journal.operation import Body, Operation, Outcome, StepId, StepOptions, keyed_address
from aiki.journal.record import Record
from aiki.journal.state import Entry, OutDispatch, PendingStep, RecordedStep, StepKind
from aiki.schema import content_hash
from aiki.types.errors import IdempotencyConflict, NonDeterminismError
from aiki.types.messages import NOT_BEGUN, StepBegun, StepFailedOnce, StepResult, kept_attempts

__all__ = ["Steps"]


class Steps:
    """Belongs to one machine: `issue` is called by workflow code, everything else by the machine."""

    def __init__(self, record: Record, loop: DeterministicLoop) -> None:
        self._record = record
        self._loop = loop
        self._ordinals: dict[str, int] = {}
        self._operations: dict[StepId, Operation] = {}
        self._pending: dict[StepId, PendingStep] = {(step.address, step.ordinal): step for step in record.state.pending}
        self._unconsumed: dict[StepId, tuple[int, RecordedStep]] = {}
        self._optional = 0
        """How many of the unconsumed belong to earlier attempts of the workflow, which later code need not take up."""
        self._optional_before = 0
        self._late: list[tuple[int, StepId]] = []
        self._new: list[Operation] = []
        self._local: list[Operation] = []
        self._earliest = math.inf
        """No step's time is over before this instant: most turns need not look at every step."""
        for step in self._pending.values():
            self._bound(step)

    # -- called by workflow code

    def issue(
        self, kind: StepKind, name: str, input: bytes, content: str, options: StepOptions, body: Body | None
    ) -> "asyncio.Future[Outcome]":
        """The future has the step's outcome once that is recorded. `content` is the hash of the canonical input."""
        if options.key is None:
            address = f"{name}:{content}"
            ordinal = self._ordinals.get(address, 0)
            self._ordinals[address] = ordinal + 1
        else:
            address, ordinal = keyed_address(name, options.key), 0
        future: asyncio.Future[Outcome] = self._loop.create_future()
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

    def _take_up_local(self, pending: PendingStep, operation: Operation) -> None:
        if operation.kind == "task":
            # It was a local step when it was issued; a dispatched one stays with its worker in the opposite case.
            if self._record.state.retry_at is None:
                pending.kind, pending.queue = "task", operation.options.queue
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
    def awaited(self) -> bool:
        """Whether an outcome can still come that the code waits for."""
        return any(step.kind == "task" or id in self._operations for id, step in self._pending.items())

    def pending(self, id: StepId) -> PendingStep | None:
        """A step that has no outcome yet."""
        return self._pending.get(id)

    def take_local(self) -> list[Operation]:
        """The local steps that are to begin now; each is handed out once, unless its outcome has come meanwhile."""
        ready, self._local = [operation for operation in self._local if operation.id in self._pending], []
        return ready

    # -- replay

    def prepare(self, entries: Iterable[tuple[int, Entry]], optional_before: int) -> None:
        """The journal that is about to be replayed. What stands before place `optional_before` need not be taken up."""
        self._optional_before = optional_before
        for index, entry in entries:
            if isinstance(entry, RecordedStep):
                self._unconsumed[entry.address, entry.ordinal] = (index, entry)
                self._optional += index < optional_before
        # Steps are resolved at their place in the journal, not when they are issued, unless that place has passed.
        self._late.clear()

    def recorded(self, index: int, entry: RecordedStep) -> None:
        """A record of this very moment joins the others."""
        self._unconsumed[entry.address, entry.ordinal] = (index, entry)

    def resolve(self, id: StepId) -> None:
        """The journal has come to this step: its outcome goes to the code, if that has issued it."""
        if id in self._operations and id in self._unconsumed:
            self._consume(id)

    def resolve_late(self, before: float) -> None:
        """Resolve outcomes whose place in the journal has passed when their step was issued, earliest first."""
        while self._late and self._late[0][0] < before:
            _, id = heapq.heappop(self._late)
            if id in self._unconsumed:
                self._consume(id)

    def _consume(self, id: StepId) -> None:
        index, entry = self._unconsumed.pop(id)
        self._optional -= index < self._optional_before
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
        return self._record.append(entry), entry

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
        self._record.dirty = True
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
        while now >= self._earliest:
            limits = [(limit, id) for id, step in self._pending.items() if (limit := limit_of(step)) is not None]
            limit, id = min(limits, key=lambda each: each[0], default=(math.inf, ("", 0)))
            if limit > now:
                self._earliest = limit
            elif id in self._operations and self._record.state.retry_at is None:
                return timed_out(self._pending[id]), limit
            else:
                del self._pending[id]
                self._record.dirty = True
        return None

    def _bound(self, step: PendingStep) -> None:
        limit = limit_of(step)
        if limit is not None and limit < self._earliest:
            self._earliest = limit

    def take_up_new(self, now: float) -> None:
        """What the code has issued becomes part of the state. `NonDeterminismError` when the journal holds other steps in its place."""
        if not self._new:
            return
        if len(self._unconsumed) > self._optional:
            raise self._non_determinism()
        new, self._new = self._new, []
        for operation in new:
            step = self._pend(operation, now)
            self._pending[operation.id] = step
            self._bound(step)
            if operation.kind == "task":
                self._dispatch(step, None, now)
            else:
                # A step that must not begin twice is written before it begins once.
                self._record.dirty |= operation.options.retry is not None and operation.options.retry.on_crash == "fail"
                self._local.append(operation)

    def hold_new(self) -> None:
        """Between two attempts of the workflow nothing is issued."""
        self._new.clear()
        self._local.clear()

    def end(self) -> None:
        """The run has ended: nothing is outstanding any more."""
        self._pending.clear()
        self.hold_new()

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
            operation.kind,
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
        )

    def _dispatch(self, step: PendingStep, due: float | None, now: float) -> None:
        step.serial = self._record.next_serial()
        step.start_by = None if step.start_timeout is None else (now if due is None else due) + step.start_timeout
        self._bound(step)
        self._record.owe(OutDispatch(step.serial, step.address, step.ordinal, due))

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
