"""The run machine: one run's code and journal, without I/O, clock or threads.

    (state, messages, now) -> (state', steps to run here, messages to send)

`begin` starts the workflow's code, or replays it over the journal. `apply` takes a message; `advance` lets time pass. Afterwards `state`
holds what must be committed (`dirty` tells whether anything must), its outbox included, and `take_local` names the steps that the host is
to run itself.

How recorded steps are replayed stands in `aiki.journal.steps`.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from hashlib import blake2b
from typing import Any

from aiki.journal.loop import DeterministicLoop
from aiki.journal.operation import Body, Operation, Outcome, StepId, StepOptions
from aiki.journal.record import Record
from aiki.journal.state import (
    Alarm,
    Entry,
    OutAlarm,
    PendingStep,
    RecordedStep,
    Retried,
    RunState,
    StepKind,
    Tick,
    Woken,
)
from aiki.journal.steps import Steps
from aiki.types.errors import NonDeterminismError, WorkflowStuck, WorkflowTimedOut
from aiki.types.failure import ErrorInfo
from aiki.types.messages import Ended, EndSleep, Mail, Resume, Start, StepFailedOnce, StepResult, Wake
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
        self._record = Record(state)
        self.replaying = False
        self.restart = False
        """The code is to begin anew: commit, and make a new machine from the state."""
        self.rung = False
        """An alarm has come ahead of its instant. The next commit strikes it out of the state: until then its message stands for it."""
        seed = int.from_bytes(blake2b(state.run_id.encode(), digest_size=6).digest(), "big")
        self.loop = DeterministicLoop.new(seed)
        self._program = program
        self._retry = retry or Retry.never()
        self._history = history
        self._began = state.started_at
        self._timeout = timeout
        self._last_instant = None if deadline is None else state.started_at + deadline
        self._main: asyncio.Task[bytes] | None = None
        self._steps = Steps(self._record, self.loop)
        self._woken_by = {entry.id for entry in history if isinstance(entry, Woken)}
        self._evicted = False

    @property
    def dirty(self) -> bool:
        """Whether there is something to commit."""
        return self._record.dirty

    @dirty.setter
    def dirty(self, value: bool) -> None:
        self._record.dirty = value

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
                self._steps.hold_new()
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
                self._take_result(message, now)
            case StepFailedOnce():
                self._steps.postpone(message, now)
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
        self._steps.begin_due(now)
        timer = self.loop.next_timer()
        if timer is not None and timer <= now:
            self._record.append(Tick(now))
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
        due = self._steps.next_due()
        return due if timer is None or (due is not None and due < timer) else timer

    def arm(self) -> None:
        """Owe an alarm for the next deadline, unless one that comes by then is set already."""
        due = self.deadline()
        if due is None or any(alarm.due <= due for alarm in self.state.alarms):
            return
        serial = self._record.next_serial()
        self.state.alarms.append(Alarm(serial, due))
        self._record.owe(OutAlarm(serial, due))

    def take_local(self) -> list[Operation]:
        """The local steps that are to begin now; each is handed out once, unless its outcome has come meanwhile."""
        return self._steps.take_local()

    def pending(self, id: StepId) -> PendingStep | None:
        """A step that has no outcome yet."""
        return self._steps.pending(id)

    @property
    def issued(self) -> set[StepId]:
        """All steps that this attempt's code has called so far. Code that is deterministic calls the same ones at each replay."""
        return self._steps.issued

    def snapshot(self, now: float) -> RunState:
        """The state to commit."""
        state = self.state
        state.updated_at = self._instant(now)
        state.pending = list(self._steps.outstanding)
        if not is_final(state.status):
            state.status = self._status()
        return state

    def evict(self) -> None:
        """Abandon the code. The state stays what it is."""
        self._evicted = True
        self.loop.dispose()
        self._steps.forget()

    # -- called by workflow code, through its context

    def issue(
        self, kind: StepKind, name: str, input: bytes, content: str, options: StepOptions, body: Body | None = None
    ) -> "asyncio.Future[Outcome]":
        """Issue a step; the future has its outcome once that is recorded. `content` is the hash of the canonical input."""
        if self._evicted:
            return self.loop.create_future()  # raises RunEvicted
        return self._steps.issue(kind, name, input, content, options, body)

    @property
    def silent(self) -> bool:
        """What the code says now has been said before, or is of no consequence."""
        return self.replaying or self._evicted

    @property
    def now(self) -> float:
        """The instant of the present turn."""
        return self.loop.time()

    # -- replay

    def _prepare_history(self) -> list[tuple[int, Entry]]:
        """The journal as the present attempt of the workflow sees it, and its clock set to where that attempt began."""
        began = self.state.started_at
        entries: list[tuple[int, Entry]] = []
        optional_before = 0
        for index, entry in enumerate(self._history):
            if isinstance(entry, Retried):
                began = self._began = entry.at
                entries = [(i, e) for i, e in entries if isinstance(e, RecordedStep) and e.error is None]
                optional_before = index
            else:
                entries.append((index, entry))
        self.loop.advance(began)
        self._steps.prepare(entries, optional_before)
        return entries

    def _replay(self, index: int, entry: Entry) -> None:
        self.loop.advance(entry.at)
        self._steps.resolve_late(index)
        if isinstance(entry, RecordedStep):
            self._steps.resolve((entry.address, entry.ordinal))
        elif isinstance(entry, Woken):
            self.loop.end_sleep()
        self._steps.resolve_late(index)

    # -- progress

    def _guarded(self, progress: Callable[[], object], now: float) -> None:
        try:
            progress()
            self._settle(now)
        except WorkflowStuck as error:
            self._end_attempt(error, now)

    def _take_result(self, message: StepResult, now: float) -> None:
        recorded = self._steps.record(message, now)
        if recorded is None or self.state.retry_at is not None or self.restart:
            return
        self._steps.recorded(*recorded)
        self._guarded(lambda: self._replay(*recorded), now)

    def _end_sleep(self, message: EndSleep, now: float) -> None:
        if message.id in self._woken_by or not self._goes_on():
            return
        self.advance(now)
        if not self._goes_on() or not self.loop.sleeps:
            return
        self._woken_by.add(message.id)
        entry = Woken(now, message.id)
        index = self._record.append(entry)
        self._guarded(lambda: self._replay(index, entry), now)

    def _wake(self, message: Wake, now: float) -> None:
        alarms = [alarm for alarm in self.state.alarms if alarm.serial != message.serial]
        if len(alarms) != len(self.state.alarms):
            self.state.alarms = alarms
            # It has come, so it was sent.
            self.state.outbox = [entry for entry in self.state.outbox if entry.serial != message.serial]
            if message.due > now:
                self.rung = True
            else:
                self.dirty = True
        self.advance(now)

    def _settle(self, now: float) -> None:
        """The loop is drained: take up what the code has issued, and see whether it has ended."""
        self._steps.resolve_late(float("inf"))
        main = self._main
        assert main is not None
        if main.done():
            self._finish(main, now)
            return
        try:
            self._steps.take_up_new(now)
        except NonDeterminismError as error:
            self._end_attempt(error, now)
            return
        if self.loop.next_timer() is None and not self._steps.awaited:
            raise WorkflowStuck("the code waits for something that can never come: no step, timer or message is outstanding")

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
        self._steps.hold_new()
        self.state.retry_at = now + delay
        self.dirty = True

    def _begin_again(self, now: float) -> None:
        assert self.state.error is not None
        self._record.append(Retried(now, self.state.error))
        self.state.attempt += 1
        self.state.retry_at = None
        self.restart = True

    def _final(self, status: State, now: float) -> None:
        state = self.state
        state.status = status
        state.finished_at = now
        state.outbox.clear()
        self._steps.end()
        if status == "completed":
            state.error = None
        self.dirty = True

    # -- small parts

    def _goes_on(self) -> bool:
        """Whether the present attempt of the code goes on."""
        return not is_final(self.state.status) and self.state.retry_at is None and not self.restart

    def _instant(self, now: float) -> float:
        """Time as the run sees it: hosts' clocks differ, but its journal never goes back."""
        return max(now, self.state.updated_at, self.loop.time())

    def _status(self) -> State:
        if self.state.retry_at is not None:
            return "awaiting_retry"
        waiting = False
        for step in self._steps.outstanding:
            if step.due is not None:
                waiting = True
            elif step.kind == "task":
                return "awaiting_task"
            else:
                return "running"
        if waiting:
            return "awaiting_retry"
        return "sleeping" if self.loop.next_timer() is not None else "running"
