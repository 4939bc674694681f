"""The run machine: one run's code and journal, without I/O, clock or threads.

    (state, messages, now) -> (state', steps to run here, messages to send)

`begin` starts the workflow's code, or replays it over the journal. `apply` takes a message; `advance` lets time pass. Afterwards `state`
holds what must be committed (`dirty` tells whether anything must), its outbox included, and `take_local` names the steps that the host is
to run itself.

How recorded steps are replayed stands in `aiki.journal.steps`.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from aiki.journal.claims import Claims
from aiki.journal.generations import begin_generation, known_ids
from aiki.journal.inbox import Inbox
from aiki.journal.limits import CLEANUP, RunLimits
from aiki.journal.loop import DeterministicLoop
from aiki.journal.marks import Marks
from aiki.journal.operation import Body, Operation, Outcome, StepId, StepOptions
from aiki.journal.publications import Publications
from aiki.journal.record import Record
from aiki.journal.reset import NewJournal, place_of, reset
from aiki.journal.standing import standing
from aiki.journal.state import (
    Alarm,
    CancelAsked,
    ChildRun,
    Continued,
    Entry,
    Ignored,
    Marked,
    OutAlarm,
    OutDispatch,
    OutMail,
    Paused,
    PendingStep,
    Received,
    RecordedStep,
    Retried,
    RunState,
    StepKind,
    StepsCancelled,
    Tick,
    Unpaused,
    Updated,
    WasReset,
    Woken,
)
from aiki.journal.steps import Steps
from aiki.journal.updates import Updates
from aiki.types.errors import NonDeterminismError, WorkflowCancelled, WorkflowStuck, WorkflowTimedOut
from aiki.types.failure import ErrorInfo
from aiki.types.messages import (
    Again,
    AnyWord,
    CacheMissed,
    Cancel,
    CancelStep,
    Ended,
    EndSleep,
    Event,
    Mail,
    Pause,
    Reset,
    Resume,
    Start,
    StepBegun,
    StepFailedOnce,
    StepResult,
    Unpause,
    Update,
    Wake,
    conflict,
    encode,
)
from aiki.types.retry import Retry
from aiki.types.states import FINAL_STATES, State, is_final

__all__ = ["Program", "QueryHandler", "RunMachine"]

Program = Callable[["RunMachine"], Coroutine[Any, Any, bytes]]
"""A workflow's code: from the machine, through which it issues steps, to its encoded result."""

QueryHandler = Callable[[bytes], bytes]
"""From a query's payload to its answer, both JSON. Must change nothing."""


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
        cleanup: float = CLEANUP,
        environment: object = None,
        hold: bool = False,
    ) -> None:
        self.state = state
        self.environment = environment
        """Whatever the host wants the program to have: the way out of the run, for the bodies of its steps."""
        self.claims = Claims()
        """Large payloads: the host gives its own."""
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
        self._limits = RunLimits(state, timeout, deadline, cleanup)
        self._main: asyncio.Task[bytes] | None = None
        self._steps = Steps(self._record, self.loop)
        self.inbox = Inbox(self.loop)
        self._applied = known_ids(history)
        self.asked_back: list[Reset] = []
        """Requests to go back to a step: the host sees to them, since they need the whole journal."""
        self._next_input: bytes | None = None
        """The code continues as new, with this."""
        self._deferred: list[tuple[int, Entry]] = []
        """Recorded during a pause, for the code to see afterwards."""
        self._earlier: list[RecordedStep] = []
        self._cancellations = 0
        self._publications = Publications(self._record)
        self.updates = Updates(self.loop)
        self._marks = Marks(self._record)
        self.queries: Mapping[str, QueryHandler] = {}
        """Given by the program: what answers a query, by name."""
        self._evicted = False
        self._hold = hold
        """`NonDeterminismError` is raised to the caller, who is to forget this machine, instead of failing the run."""

    @property
    def dirty(self) -> bool:
        """Whether there is something to commit."""
        return self._record.dirty

    @dirty.setter
    def dirty(self, value: bool) -> None:
        self._record.dirty = value
        if not value:
            self._publications.committed()

    # -- turns

    def begin(self, now: float) -> None:
        """Start the code, or replay it up to where the journal ends, and let it go on as far as it can."""
        if is_final(self.state.status) or self.state.begins_at is not None:
            return
        entries = self._prepare_history()
        self._main = self.loop.create_task(self._program(self), name="workflow")
        self.replaying = bool(entries) or self._was_here()
        try:
            self.loop.drain()
            for index, entry in entries:
                self._replay(index, entry)
            self._history, self._earlier = (), []
            self.replaying = False
            if self.state.paused is not None:
                return
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
        if isinstance(message, StepBegun):
            self._steps.begun(message)  # what was begun in time counts, also when that is heard of late
        if now >= self._steps.earliest:
            self._expire(now)
        if self.state.status in FINAL_STATES:
            return
        match message:
            case StepResult():
                self._take(self._steps.record(message, now), now)
            case StepFailedOnce():
                self._steps.postpone(message, now)
                self._expire(now)
            case CacheMissed():
                self._steps.missed(message, now)
            case Wake():
                self._wake(message, now)
            case Ended():
                self._take(self._steps.end_child(message, now), now)
            case Start():
                self._start_again(message)
            case Resume() | StepBegun():
                pass
            case Reset():
                if message.id not in self._applied:
                    self.asked_back.append(message)
            case _:
                if message.id not in self._applied:
                    self._obey(message, now)
                    if message.id not in self._applied and not is_final(self.state.status):
                        self._add(Ignored(now, message.id, type(message).__name__), now)

    def _obey(self, message: AnyWord, now: float) -> None:
        """What somebody has asked of the run, for the first time."""
        match message:
            case Event():
                self._add(Received(now, message.name, message.payload, message.id), now)
            case Update():
                self._add(Updated(now, message.name, message.payload, message.id), now)
            case Cancel():
                self._cancel(message, now)
            case CancelStep():
                self._cancel_steps(message, now)
            case Pause():
                self._pause(message, now)
            case Unpause():
                self._unpause(message, now)
            case EndSleep():
                self._end_sleep(message, now)
            case Again() | Reset():
                pass  # it goes on already, or is to go back first

    def advance(self, now: float) -> None:
        """Let time pass: steps whose time is over fail, timers of the code fire, and retries that are due begin."""
        if is_final(self.state.status) or self.restart or self.state.paused is not None:
            return
        now = self._instant(now)
        self._check_limits(now)
        if now >= self._steps.earliest:
            self._expire(now)
        if self.state.status in FINAL_STATES:
            return
        if self.state.begins_at is not None:
            if self.state.begins_at <= now:
                self._begin_late(now)
            return
        if self.state.retry_at is not None:
            if self.state.retry_at <= now:
                self._begin_again(now)
            return
        if self._steps.timed:
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
        state = self.state
        if is_final(state.status) or self.restart or state.paused is not None:
            return None
        limit = self._limits.next() if self._limits.bounded or state.cancelled is not None else None
        if (begins := state.begins_at if state.begins_at is not None else state.retry_at) is not None:
            return begins if limit is None else min(limit, begins)
        timer = self.loop.next_timer()
        if limit is not None and (timer is None or limit < timer):
            timer = limit
        due = self._steps.next_due() if self._steps.timed else None
        return due if timer is None or (due is not None and due < timer) else timer

    def armed(self, due: float | None) -> bool:
        """Whether an alarm is set that comes by that deadline, if there is one."""
        return due is None or any(alarm.due <= due for alarm in self.state.alarms)

    def arm(self) -> None:
        """Owe an alarm for the next deadline, unless one that comes by then is set already."""
        due = self.deadline()
        if due is None or self.armed(due):
            return
        serial = self._record.next_serial()
        self.state.alarms.append(Alarm(serial, due))
        self._record.owe(OutAlarm(serial, due))

    def take_local(self) -> list[Operation]:
        """The local steps that are to begin now; each is handed out once, unless its outcome has come meanwhile."""
        return self._steps.take_local() if self.state.paused is None else []

    def take_ended(self) -> bool:
        """Whether steps have ended without an outcome of their own, so that bodies must be stopped."""
        ended, self._steps.ended = self._steps.ended, False
        return ended

    def pending(self, id: StepId) -> PendingStep | None:
        """A step that has no outcome yet."""
        return self._steps.pending(id)

    @property
    def outstanding(self) -> Iterable[PendingStep]:
        """The steps that have no outcome yet, and the sub-workflows that go on after the code."""
        return (*self._steps.outstanding, *self._steps.left)

    async def opened(self, data: bytes) -> bytes:
        """For the code: the payload that was recorded as this. One that is not here suspends the code: the host begins anew with it."""
        found = self.claims.open(data)
        if found is None:
            await self.loop.create_future()
            raise AssertionError("the code has been forgotten")
        return found

    @property
    def issued(self) -> set[StepId]:
        """All steps that this attempt's code has called so far. Code that is deterministic calls the same ones at each replay."""
        return self._steps.issued

    def snapshot(self, now: float) -> RunState:
        """The state to commit."""
        state = self.state
        state.updated_at = self._instant(now)
        pending = list(self._steps.outstanding)
        state.pending = [*pending, *self._steps.left]
        if state.status not in FINAL_STATES:
            state.waits = self.inbox.waits
            state.status = standing(state, pending, sleeps=self.loop.next_timer() is not None)
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
        return self._steps.issue(kind, name, input, content, options, body)[1]

    def issue_child(self, child: ChildRun, input: bytes, content: str, key: str | None) -> "tuple[ChildRun, asyncio.Future[Outcome]]":
        """Issue the start of a sub-workflow; answers it with its run id, and the future of its end."""
        if self._evicted:
            return child, self.loop.create_future()  # raises RunEvicted
        options = StepOptions(key=key, child=child)
        operation, future = self._steps.issue("child", child.workflow, input, content, options, None)
        assert operation.options.child is not None
        return operation.options.child, future

    def continue_as_new(self, input: bytes) -> None:
        """The code is over, and begins again with this input and an empty journal when the turn has come to its end."""
        if not self._evicted and self._next_input is None:
            self._next_input = input

    def publish(self, data: bytes) -> None:
        """Tell whoever watches the run, with the next commit."""
        if not self._evicted:
            self._publications.add(data, self.loop.time())

    def knows(self, id: str) -> bool:
        """Whether the message of that id was applied."""
        return id in self._applied

    def earlier(self, name: str) -> list[bytes]:
        """The inputs of the completed local steps of that name that earlier attempts of the workflow had recorded when they ended."""
        return [step.input for step in self._earlier if step.name == name]

    def mark(self, id: str) -> None:
        """The code comes by here."""
        if not self._evicted:
            self._marks.add(id, self.loop.time())
            self._marks.lasting.add(id)

    def marked_before(self, id: str) -> bool:
        """Whether an earlier attempt or generation of the workflow came by there."""
        return id in self._marks.before

    def patched(self, id: str) -> bool:
        """Whether the code that follows a change is to be run: not where the run came by before it."""
        return self._marks.patched(id, self.loop.time(), replaying=self.replaying)

    def will_retry(self, error: BaseException) -> bool:
        """Whether the workflow begins again when its code raises this."""
        return self._next_delay(error) is not None

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
            if isinstance(entry, Marked):
                self._marks.here.add(entry.id)
            elif isinstance(entry, Continued):
                began = self._limits.began = entry.at
                self._marks.before.update(entry.marks)
                self._marks.lasting.update(entry.marks)
            elif isinstance(entry, WasReset):
                self._limits.begin_anew(entry.at)
                optional_before = index
                entries.append((index, entry))
            elif isinstance(entry, Retried):
                self._marks.end_attempt()
                began = self._limits.began = entry.at
                entries = [(i, e) for i, e in entries if _outlives_attempt(e)]
                self._earlier = [step for _, step in entries if isinstance(step, RecordedStep) and step.kind == "local"]
                optional_before = index
            else:
                entries.append((index, entry))
        self.loop.advance(began)
        self._steps.prepare(entries, optional_before, began)
        if self.state.paused is not None:
            paused = max(place for place, (_, entry) in enumerate(entries) if isinstance(entry, Paused))
            self._deferred, entries = entries[paused + 1 :], entries[: paused + 1]
        return entries

    def _was_here(self) -> bool:
        """Whether the present attempt has been committed since it began, though nothing has been recorded in it."""
        state = self.state
        return bool(state.operation) and (
            state.updated_at > self._limits.began or bool(state.alarms or any(not step.left for step in state.pending))
        )

    def _replay(self, index: int, entry: Entry) -> None:
        steps = self._steps
        self.loop.advance(entry.at)
        if steps.late:
            steps.resolve_late(index)
        if isinstance(entry, RecordedStep):
            steps.resolve((entry.address, entry.ordinal))
        elif isinstance(entry, Received):
            self.inbox.deliver(entry)
        elif isinstance(entry, Updated):
            if self._main is not None and not self._main.done():  # else it is the next attempt's
                self.updates.begin(entry)
        elif isinstance(entry, Woken):
            self.loop.end_sleep()
        elif isinstance(entry, WasReset):
            self._publications.skip_to(entry.told)
        elif isinstance(entry, CancelAsked):
            assert self._main is not None
            self.loop.interrupt(self._main)
        if steps.late:
            steps.resolve_late(index)

    # -- progress

    def _guarded(self, progress: Callable[[], object], now: float) -> None:
        try:
            progress()
            self._settle(now)
        except WorkflowStuck as error:
            self._end_attempt(error, now)

    def _add(self, entry: Entry, now: float) -> None:
        if not isinstance(entry, _UNNAMED):
            self._applied[entry.id] = None
        self._show([(self._record.append(entry), entry)], now)

    def _take(self, recorded: tuple[int, RecordedStep] | None, now: float) -> None:
        if recorded is None:
            return
        if self.state.paused is not None:
            self._deferred.append(recorded)
        elif self._goes_on():
            self._steps.recorded(*recorded)
            try:
                self._replay(*recorded)
                self._settle(now)
            except WorkflowStuck as error:
                self._end_attempt(error, now)

    def _expire(self, now: float) -> None:
        """Steps whose time is over fail, each at its instant, however late that is noticed: timers that were due later fire later."""
        if self.state.paused is not None:
            return
        while not self.restart and (expired := self._steps.take_expired(now)) is not None:
            message, limit = expired
            self._take(self._steps.record(message, self._instant(limit)), now)

    def _show(self, recorded: Sequence[tuple[int, Entry]], now: float) -> None:
        """Let the code see what has just been recorded, unless it rests or does not run: then it will see it when it goes on."""
        if self.state.paused is not None:
            self._deferred.extend(recorded)
        elif self._goes_on():
            self._guarded(lambda: self._replay_all(recorded), now)

    def _replay_all(self, recorded: Sequence[tuple[int, Entry]]) -> None:
        for index, entry in recorded:
            if isinstance(entry, RecordedStep):
                self._steps.recorded(index, entry)
            self._replay(index, entry)

    def _start_again(self, message: Start) -> None:
        """Somebody else wants this run, who has the same idempotency key for it."""
        state = self.state
        if not message.notify or message.notify == state.notify or message.notify in state.watchers:
            return
        if message.input_hash == state.input_hash or message.shares:
            state.watchers.append(message.notify)
            self.dirty = True
        else:
            self._record.owe(OutMail(self._record.next_serial(), message.notify, encode(conflict(message))))

    def _cancel(self, message: Cancel, now: float) -> None:
        state = self.state
        if state.cancelled is not None and not message.terminate:
            return
        entry = state.cancelled = CancelAsked(now, message.id, message.reason, message.terminate)
        deferred, self._deferred = self._deferred, []
        state.paused = None
        index = self._record.append(entry)
        self._applied[message.id] = None
        if message.terminate or not self._goes_on():
            self._end_cancelled(now)
        else:
            self._show([*deferred, (index, entry)], now)

    def _cancel_steps(self, message: CancelStep, now: float) -> None:
        recorded: list[tuple[int, Entry]] = list(self._steps.cancel(message.name, message.reason, now))
        if recorded:
            self._applied[message.id] = None
            self._record.append(StepsCancelled(now, message.id, message.name, message.reason))
            self._show(recorded, now)

    def _pause(self, message: Pause, now: float) -> None:
        if self.state.paused is None and self.state.cancelled is None:
            entry = Paused(now, message.id, message.reason)
            self._add(entry, now)
            if not is_final(self.state.status):  # what was due before may have ended it
                self.state.paused = entry

    def _unpause(self, message: Unpause, now: float) -> None:
        if self.state.paused is None:
            return
        self._applied[message.id] = None
        self._record.append(Unpaused(now, message.id))
        self.state.paused = None
        deferred, self._deferred = self._deferred, []
        self._show(deferred, now)
        self.advance(now)

    def _end_sleep(self, message: EndSleep, now: float) -> None:
        self.advance(now)
        if self._goes_on() and self.state.paused is None and self.loop.sleeps:
            self._add(Woken(now, message.id), now)

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
        if self._steps.late:
            self._steps.resolve_late(float("inf"))
        main = self._main
        assert main is not None
        if self._next_input is not None and self.state.cancelled is None:
            self._continue(self._next_input, now)
            return
        if main.done():
            self._finish(main, now)
            return
        try:
            self._steps.take_up_new(now)
        except NonDeterminismError as error:
            if self._hold:
                raise
            self._end_attempt(error, now)
            return
        if self.loop.cancellations != self._cancellations:
            self._cancellations = self.loop.cancellations
            self._steps.withdraw_abandoned(now)
        if self.loop.next_timer() is None and not self._steps.awaited and not self.inbox.waits and not self.updates.handlers:
            raise WorkflowStuck("the code waits for something that can never come: no step, timer or message is outstanding")

    # -- ends

    def _finish(self, main: "asyncio.Task[bytes]", now: float) -> None:
        if main.cancelled() and self.state.cancelled is not None:
            self._end_cancelled(now)
        elif main.cancelled():
            self._end_attempt(asyncio.CancelledError("the workflow cancelled itself"), now)
        elif (error := main.exception()) is not None:
            self._end_attempt(error, now)
        else:
            self.state.result = main.result()
            self._final("completed", now)

    def _check_limits(self, now: float) -> None:
        """What takes too long ends, also when this is noticed late: whatever came in the meantime came too late."""
        state = self.state
        limits = self._limits
        if (state.cancelled is None and not limits.bounded) or state.paused is not None:
            return
        if state.cancelled is not None:
            if limits.cleanup_over(now):
                self._end_cancelled(now)
        elif (over := limits.run_over(now)) is not None:
            state.error = ErrorInfo.of(over)
            self._final("timed_out", now)
        elif self._goes_on() and (over := limits.attempt_over(now)) is not None:
            self._end_attempt(over, now)

    def _end_cancelled(self, now: float) -> None:
        asked = self.state.cancelled
        assert asked is not None
        self.state.error = ErrorInfo.of(WorkflowCancelled(asked.reason or "cancelled"))
        self._final("cancelled", now)

    def _next_delay(self, error: BaseException) -> float | None:
        if self.state.cancelled is not None or isinstance(error, NonDeterminismError | WorkflowStuck):
            return None
        chance = random.Random(f"{self.state.run_id}/{self.state.attempt}")
        return self._retry.next_delay(self.state.attempt, error, chance, self._instant(0.0) - self.state.started_at)

    def _end_attempt(self, error: BaseException, now: float) -> None:
        """The code failed: begin again later if the workflow's strategy says so, else the run has failed."""
        self.state.error = ErrorInfo.of(error)
        delay = self._next_delay(error)
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
        self._publications.end_attempt()
        self.state.retry_at = None
        self.restart = True

    def go_back(self, word: Reset, journal: Sequence[Entry], now: float) -> NewJournal | None:
        """Take the run back to a step, as far as the state goes; the new journal is the host's to write, and the code begins anew then."""
        now = self._instant(now)
        if place_of(journal, word.address, word.ordinal) is None:
            self._add(Ignored(now, word.id, "Reset"), now)
            return None
        self._steps.end(withdraw=True)
        self.state.pending = list(self._steps.left)
        made = reset(self.state, journal, word, now)
        assert made is not None
        self._applied[word.id] = None
        self.restart = self.dirty = True
        return made

    def _continue(self, input: bytes, now: float) -> None:
        carried: list[Received | Updated] = [*self.updates.unanswered, *self.inbox.untaken]
        known = [id for id in self._applied if all(id != entry.id for entry in carried)] if carried else self._applied
        self._steps.take_up_abandoned(now)
        self._steps.end(withdraw=True)
        self._publications.end_attempt()
        begin_generation(
            self._record, input, carried=sorted(carried, key=lambda entry: entry.at), known=known, marks=self._marks.lasting, now=now
        )
        self.restart = True

    def _begin_late(self, now: float) -> None:
        self.state.begins_at = None
        self.state.started_at = now
        self.restart = True
        self.dirty = True

    def _final(self, status: State, now: float) -> None:
        state = self.state
        state.status = status
        state.finished_at = now
        state.outbox = [owed for owed in state.outbox if not isinstance(owed, OutDispatch | OutAlarm)]
        state.paused = None
        state.waits = []
        self._deferred.clear()
        if status in ("completed", "failed"):
            self._steps.take_up_abandoned(now)
        self._steps.end(withdraw=status != "completed")
        if status == "completed":
            state.error = None
        self.dirty = True

    # -- small parts

    def _goes_on(self) -> bool:
        """Whether the present attempt of the code goes on."""
        state = self.state
        return not is_final(state.status) and state.retry_at is None and state.begins_at is None and not self.restart

    def _instant(self, now: float) -> float:
        """Time as the run sees it: hosts' clocks differ, but its journal never goes back."""
        return max(now, self.state.updated_at, self.loop.now)


_UNNAMED = RecordedStep | Tick | Retried | Marked | Continued


def _outlives_attempt(entry: Entry) -> bool:
    """What the next attempt of the workflow finds again."""
    return isinstance(entry, Received | Updated | Paused) or (isinstance(entry, RecordedStep) and entry.error is None)
