"""The activation of one run: its live machine, its inbox, and the turns that the host gives it.

A turn: take what is in the inbox (or load the state and replay), apply it, run the code until it can go no further, write the new state by
one compare-and-set, send the outbox, begin local steps. While local steps run or a timer is near, the turn goes on, and everything that
arrives while a commit is in flight goes into the next one together. It ends when the run waits only for messages, and only then is its
trigger acknowledged: until then the trigger is kept alive, so that behind every unfinished turn stands a durable message that nobody has
acknowledged.

If the process dies: before the commit, the trigger is delivered again and nothing has happened; after it, the next host finds the message
applied, sends the outbox again and acknowledges. If another host went ahead, the compare-and-set fails: this activation forgets what it
knows and reads again.
"""

import asyncio
import logging
import weakref
from collections import deque
from functools import partial
from typing import Protocol

from aiki import telemetry
from aiki.actors.batch import BATCH, BATCH_BYTES, identity, in_order, weight
from aiki.actors.blobs import Blobs
from aiki.actors.bringing import Bringing
from aiki.actors.definitions import RunDefinition
from aiki.actors.envelope import Envelope, LocalEnvelope
from aiki.actors.evidence import Evidence, Poisoned, Trial, TriedElsewhere
from aiki.actors.gatherings import Gatherings
from aiki.actors.held import bury_run, is_held, is_terminated, keep_mail
from aiki.actors.keeping import keeping_of
from aiki.actors.lines import LineFull, Lines
from aiki.actors.local import LocalSteps
from aiki.actors.outbox import Outbox
from aiki.actors.queries import ask_code, machine_of
from aiki.actors.results import Results
from aiki.actors.standing import LINE_FULL_FOR, give_place_back, must_ask, take_place
from aiki.actors.stored import StoredRun
from aiki.actors.tally import Tallies
from aiki.actors.topology import ACK_WAIT
from aiki.actors.turnstile import Turnstile
from aiki.actors.unreadable import LEFT_FOR, Unreadable
from aiki.actors.watchdog import Watchdog
from aiki.clock import Clock
from aiki.journal import (
    Entry,
    RecordedStep,
    RunMachine,
    RunState,
    StepId,
    Updated,
    decode_state,
    encode_state,
    new_run,
    reopened,
    says_otherwise,
)
from aiki.kv import DeadStore, RunStore, StoredState
from aiki.types.errors import (
    AikiError,
    CodecError,
    Conflict,
    NonDeterminismError,
    NotConnected,
    PayloadLost,
    PayloadTooLarge,
    RunEnded,
    RunNotFound,
    StepNotFound,
)
from aiki.types.failure import ErrorInfo
from aiki.types.messages import (
    Again,
    Answer,
    CacheMissed,
    Ended,
    Fork,
    Mail,
    Query,
    Reset,
    Start,
    StepBegun,
    StepFailedOnce,
    StepResult,
    Update,
    Word,
    conflict,
    encode,
)
from aiki.types.retention import Retention
from aiki.types.states import is_final
from aiki.types.subjects import Subjects

__all__ = ["Activation", "ActivationHost", "ended_of"]

NEAR = 4.5
"""Seconds: a timer that is due sooner is waited for in the turn, exactly and without a durable alarm. More than alarms come early by."""

LEAST_WAIT = 1e-5
"""Seconds. Clocks are floats, so an instant may be a rounding error away that a timer is too coarse for: it would fire, again and again."""

VISIBLE_AFTER = 0.25
"""Seconds after which a run whose first step is still at work is written, so that it can be seen."""

MAX_FAILURES = 5
"""Turns that may fail one after another before the run is held."""

HELD_AGAIN = 30.0
"""Seconds after which a run is tried again that is held because the code does not fit it: by then there may be a worker whose code does."""

ANOTHER_FIRST = 1.0
"""Seconds after which a suspect is tried again, when another one is being tried here."""

_OUTCOMES = (StepResult, StepFailedOnce)

_log = logging.getLogger("aiki.actors")


class _Held(Exception):
    """The run is held, and its code must not be run."""


class _Overtaken(Exception):
    """Another host has committed to this run."""


class ActivationHost(Protocol):
    """What an activation needs of the host that it lives in."""

    clock: Clock
    store: RunStore
    dead: DeadStore
    evidence: Evidence
    lines: Lines
    gatherings: Gatherings
    outbox: Outbox
    watchdog: Watchdog
    results: Results
    tallies: Tallies
    blobs: Blobs
    unreadable: Unreadable
    worker_id: str
    subject: str
    commits: Turnstile
    """Bounds the commits that are on their way, when thousands of runs go on at one instant."""
    retention: Retention
    archive: bool
    """What becomes of runs after their end whose workflows do not say so."""
    subjects: Subjects
    environment: object
    """What the programs of runs are given."""
    always_replay: bool
    """Begin the code anew from the journal whenever anything happens, and fail the run when it says something else then."""

    def now(self) -> float: ...
    def next_operation(self) -> str: ...
    def turn_began(self, activation: "Activation") -> None: ...
    def turn_ended(self, activation: "Activation") -> None: ...
    def answer(self, reply: str, answer: Answer) -> None: ...
    def wait_began(self, activation: "Activation") -> None: ...
    def wait_ended(self, activation: "Activation") -> None: ...
    async def run_ended(self, state: RunState, *, again: bool = False) -> None: ...
    async def ask_for_archive(self, state: RunState) -> None: ...


class Activation:
    """One run on this host. All methods are called on the host's loop."""

    def __init__(self, host: ActivationHost, definition: RunDefinition, run_id: str, *, redelivered: bool = False) -> None:
        self.run_id = run_id
        self.definition = definition
        self._host = host
        self._inbox: deque[Envelope] = deque()
        self._batch: list[Envelope] = []
        self._held: list[Envelope] = []
        self._machine: RunMachine | None = None
        self._stored = StoredRun(host.store, run_id, host.subject, host.worker_id, keeping_of(host, definition), host.next_operation)
        self._sent: set[int] = set()
        self._inherited = False
        self._doubtful = self._suspected = redelivered
        self._trial: Trial | None = None
        """Of a run whose last host may have died of it."""
        self._new: RunState | None = None
        """Of a fork that nobody has written yet."""
        self._late: set[Envelope] = set()
        """Results that nobody waits for any more: the dispatch of one that was withdrawn is gone, so it cannot stand behind the turn."""
        self._unproven = False
        """Messages are held that no commit and no reading has shown to be judged rightly: none may be settled yet."""
        report = partial(_report, weakref.ref(self))
        self._local = LocalSteps(run_id, host.worker_id, host, report, host.results, host.tallies, host.blobs)
        self._large = Bringing(run_id, host.blobs)
        """Payloads that do not travel in messages."""
        self._driver: asyncio.Task[None] | None = None
        self._signal: asyncio.Future[None] | None = None
        self._failures = 0
        self._replies: dict[str, set[str]] = {}
        """Who wait for the answer of an update, by its id."""

    @property
    def turn(self) -> asyncio.Task[None] | None:
        """The turn that is going on."""
        return self._driver

    @property
    def _mailbox(self) -> str:
        return f"{self._host.subjects.run_mail(self.definition.name, self.definition.version)}{self.run_id}"

    @property
    def worth_keeping(self) -> bool:
        """The run's code is in memory, or its failures are being counted."""
        return self._machine is not None or self._failures > 0

    def deliver(self, envelope: Envelope) -> None:
        """Put a message into the inbox; a turn begins unless one is going on."""
        self._inbox.append(envelope)
        if self._driver is None:
            self._driver = asyncio.create_task(self._turn())
            self._host.turn_began(self)
        elif self._signal is not None and not self._signal.done():
            self._signal.set_result(None)

    def ask(self, query: Query) -> Answer | None:
        """The answer of the code, if it is in memory."""
        return None if self._machine is None else ask_code(self._machine, query)

    def keep_alive(self) -> None:
        """Tell the senders of unfinished work that it goes on."""
        for envelope in (*self._held, *self._batch, *self._inbox):
            envelope.working()

    def evict(self) -> None:
        """Free the memory; the next message loads the run again."""
        self._large.claims.drop()
        if self._machine is not None:
            self._machine.evict()
            self._machine = None
        self._local.evict()
        self._sent.clear()

    async def stop(self) -> None:
        """End the turn where it stands; others are given its messages at once."""
        if self._driver is not None:
            self._driver.cancel()
            await asyncio.gather(self._driver, return_exceptions=True)
        local = self._local.evict()
        self.evict()
        await asyncio.gather(*local, return_exceptions=True)
        self._batch.extend(self._inbox)
        self._inbox.clear()
        self._refuse_all(0.0)

    # -- the turn

    async def _turn(self) -> None:
        try:
            while self._inbox:
                try:
                    await self._drive()
                    self._failures = 0
                    self._acquit()
                except _Overtaken:
                    # Whoever overtook us holds a message of their own. Ours, applied already, are to be delivered again:
                    # acknowledging them could take away what stands behind the other's turn.
                    self.evict()
                    self._refuse_all(ACK_WAIT)
                except (Poisoned, _Held, TriedElsewhere, NonDeterminismError) as reason:
                    self.evict()
                    await self._put_aside(reason)
                except (asyncio.CancelledError, NotConnected):
                    raise
                except LineFull as full:
                    _log.warning("run %s: %s; it is tried again in %g s", self.run_id, full, LINE_FULL_FOR)
                    self.evict()
                    self._refuse_all(LINE_FULL_FOR)
                except CodecError as error:
                    self._host.unreadable.mark(self.run_id, error, self._host.now())
                    self.evict()
                    self._refuse_all(LEFT_FOR)
                except Exception as error:
                    await self._failed(error)
        except NotConnected:
            self.evict()
            self._batch.extend(self._inbox)
            self._inbox.clear()
            self._refuse_all(0.0)
        finally:
            self._driver = None
            self._large.claims.forget()
            if self._trial is not None:
                self._trial.given_back()
                self._trial = None
            self._host.turn_ended(self)

    async def _drive(self) -> None:
        """Go on until the run waits only for messages, and settle what began it."""
        overtaken = False
        failure: PayloadTooLarge | None = None
        while True:
            self._fill_batch()
            machine = self._machine
            if machine is None:
                try:
                    machine = await self._load()
                except Conflict:  # it went on while it was read
                    continue
            elif self._host.always_replay:
                machine = await self._load_again(machine)
            if machine is None:
                self._settle_all()
                return
            for envelope in self._batch:
                if isinstance(envelope.message, Word):
                    await self._complete_words(machine)
                    break
            await self._large.bring(envelope.message for envelope in self._batch)
            now = self._host.now()
            if must_ask(self.definition, machine.state, now, new=False):
                now = await self._take_place(machine, now)
            self._apply(machine, now, failure)
            if self._large.claims.missing:
                # It was read in an earlier turn, and forgotten since: the code begins anew, as far as it was committed.
                self._drop_machine()
                self._take_back()
                await self._large.bring_missing()
                continue
            for word in machine.asked_back:
                await self._go_back(machine, word, now)
            if overtaken and not machine.dirty:
                if not machine.rung:
                    raise _Overtaken
                machine.dirty = True
            try:
                with telemetry.turn_span(self.definition.name, self.run_id, len(self._batch), machine.state.trace):
                    due = await self._write_and_send(machine, now)
            except Conflict:
                # What was taken up on the view that proved stale is judged anew.
                self._drop_machine()
                self._take_back()
                overtaken = True
                continue
            except PayloadTooLarge as error:
                # The state does not fit into one message, so the run fails as it stood before.
                if failure is not None:
                    raise
                self._drop_machine()
                self._take_back()  # the start, if nothing has been written yet
                failure = error
                continue
            overtaken = self._stored.current = False
            if machine.restart:
                self._drop_machine()
            elif is_final(machine.state.status):
                await self._end(machine)
                return
            elif self._inbox:
                self._release_early()
            else:
                if not self._local and (due is None or due - now > NEAR):
                    if not machine.armed(due):
                        continue  # a body was stopped that was at work when this was asked before
                    self._settle_all()
                    return
                self._release_early()
                await self._wait(due)

    def _fill_batch(self) -> None:
        batch, inbox = self._batch, self._inbox
        size = sum([weight(envelope.message) for envelope in batch])
        while inbox and len(batch) < BATCH and size < BATCH_BYTES:
            envelope = inbox.popleft()
            batch.append(envelope)
            size += weight(envelope.message)

    def _take_back(self) -> None:
        self._batch[:0] = self._held
        self._held.clear()
        self._late.clear()
        self._unproven = False

    async def _complete_words(self, machine: RunMachine) -> None:
        """What one sender asks is applied in the order in which it was sent.

        A word may arrive before its predecessor, which another host has, or which is to be delivered once more. That one is in the stream,
        and is read from there; its own delivery will find it applied.
        """
        words = [envelope.message for envelope in self._batch if isinstance(envelope.message, Word)]
        here = {word.id for word in words}
        if any(word.after and word.after not in here and not machine.knows(word.after) for word in words):
            subject = self._host.subjects.run_words(self.definition.name, self.definition.version, self.run_id)
            missing = [word for word in await self._host.store.words(subject) if word.id not in here]
            self._batch[:0] = [LocalEnvelope(word) for word in missing]
        elif not any(word.after in here for word in words):
            return
        self._batch = in_order(self._batch)

    def _apply(self, machine: RunMachine, now: float, failure: PayloadTooLarge | None) -> None:
        watchdog = self._host.watchdog
        watchdog.enter(self.run_id)
        try:
            if failure is not None:
                machine.fail(failure, now)
            for envelope in self._batch:
                message = envelope.message
                if isinstance(message, _OUTCOMES):
                    step = machine.pending((message.address, message.ordinal))
                    if step is None or step.serial != message.serial:
                        self._late.add(envelope)
                elif isinstance(message, Update) and message.reply:
                    self._replies.setdefault(message.id, set()).add(message.reply)
                machine.apply(message, now)
            machine.advance(now)
        finally:
            watchdog.leave()

    async def _write_and_send(self, machine: RunMachine, now: float) -> float | None:
        """Answers the machine's deadline."""
        ready = machine.take_local()
        if self._host.always_replay:
            ready = [operation for operation in ready if not self._is_begun(operation.id)]
        due = machine.deadline()
        if not ready and not self._local and (due is None or due - now > NEAR):
            machine.arm()
            # Whoever waits for a message alone has written nothing yet.
            machine.dirty |= self._stored.revision == 0
        near = due is not None and due - now <= NEAR
        if machine.rung and not near:
            machine.dirty = True  # its message is about to be settled
        if machine.dirty:
            messages = (envelope.message for envelope in (*self._held, *self._batch))
            await self._large.settle(messages, machine)
            commits = self._host.commits
            if commits.free:
                commits.free -= 1
            else:
                await commits.wait()
            try:
                await self._commit(machine, now)
            finally:
                commits.leave()
            self._unproven = False
        elif self._stored.current:
            self._unproven = False
        elif ready or (not near and self._unproven):
            await self._stored.verify()
            self._unproven = False
        elif any(envelope.durable for envelope in self._batch):
            if near:
                self._unproven = True  # nothing is settled before the commit that is near
            else:
                await self._stored.verify()
        for envelope in self._batch:
            if isinstance(envelope.message, StepBegun):
                envelope.done()  # its worker waits for this, and what stands behind the turn is the dispatch, which it keeps
            elif envelope.durable:
                self._held.append(envelope)
        self._batch.clear()
        if machine.take_ended():
            self._local.end_all_but(machine.pending)
        for operation in ready:
            self._local.begin(operation, machine.pending(operation.id))
        if len(machine.state.outbox) > len(self._sent):
            await self._host.outbox.flush(machine.state, machine.pending, self._sent, again=self._inherited)
        self._inherited = False
        if self._replies:
            self._answer(machine)
        if machine.state.begins_at is not None and machine.state.line is None:
            await self._host.outbox.forget_start(self.run_id)
        return due

    def _answer(self, machine: RunMachine) -> None:
        """Tell the senders of updates what these came to, now that it is committed."""
        for id in [id for id in self._replies if id in machine.updates.answers]:
            for reply in self._replies.pop(id):
                self._host.answer(reply, machine.updates.answers[id])

    async def _wait(self, due: float | None) -> None:
        """Until something arrives, or the near timer is due, or a new run has been invisible for too long."""
        loop = asyncio.get_running_loop()
        signal = self._signal = loop.create_future()
        timers = []
        if due is not None:
            timers.append(loop.call_later(max(LEAST_WAIT, due - self._host.now()), _set, signal))
        if self._stored.revision == 0:
            timers.append(loop.call_later(VISIBLE_AFTER, self._make_visible, signal))
        idle = not self._local
        if idle:
            self._host.wait_began(self)
        try:
            await signal
        finally:
            self._signal = None
            if idle:
                self._host.wait_ended(self)
            for timer in timers:
                timer.cancel()

    def _make_visible(self, signal: "asyncio.Future[None]") -> None:
        if self._machine is not None and self._stored.revision == 0:
            self._machine.dirty = True
            _set(signal)

    # -- state

    async def _load(self) -> RunMachine | None:
        """Read the run and replay it, or begin it; None when there is nothing (more) to do."""
        start = next((e.message for e in self._batch if isinstance(e.message, Start)), None)
        # What a first delivery starts is most likely new: its state is not read before that matters (`_verify`).
        guess = start is not None and not self._doubtful and self.definition.run_limit is None and not start.debounce
        self._doubtful = True
        stored = None if guess else await self._stored.read()
        if guess:
            self._stored.current = False
        if stored is None and start is None:
            start = await self._find_start()
            if start is None:  # perhaps it has been taken up between these two reads
                stored = await self._stored.read()
        if stored is None:
            if start is None:
                _log.warning("run %s does not exist (any more): its message is dropped", self.run_id)
                return None
            state = new_run(start, self._host.now())
            if start.fork is not None:
                return await self._begin_fork(state, start.fork)
            if must_ask(self.definition, state, now := self._host.now(), new=True):
                return await self._begin_in_line(state, now)
        elif start is not None and is_final(stored.state) and decode_state(stored.value).imported:
            state = new_run(start, self._host.now())  # a copy that somebody looks at has no say
        elif start is not None and not self._serves(state := decode_state(stored.value)):
            _log.warning(
                "run %s is one of version %r of its workflow: a start of version %r is dropped", self.run_id, state.version, start.version
            )
            return None
        elif is_final(stored.state):
            return await self._load_ended(stored)
        else:
            state = decode_state(stored.value)
        held = is_held(state)
        if held and not is_terminated(self._batch):
            raise _Held
        self._stored.take(stored, state)
        journal = await self._stored.journal(state)
        if held:
            self._machine = machine_of(self.definition, state, journal, self._host.environment)  # ended without its code
            return self._machine
        await self._suspect(journal)
        self._sent.clear()
        self._inherited = stored is not None
        self._local.inherit({(step.address, step.ordinal) for step in state.pending if step.due is None})
        await self._large.bring_journal(state, journal)
        return self._begin(state, journal)

    async def _load_ended(self, stored: StoredState) -> RunMachine | None:
        """A run that has ended, and perhaps is to go on."""
        state = decode_state(stored.value)
        self._stored.take(stored, state)
        for word in [envelope.message for envelope in self._batch]:
            if isinstance(word, Again | Reset) and (journal := await self._stored.taken_up(state, word, self._host.now())) is not None:
                await self._suspect(journal)
                await self._large.bring_journal(state, journal)
                self._sent.clear()
                machine = self._begin(state, journal)
                machine.dirty = True
                return machine
        await self._end_again(state)
        return None

    async def _begin_in_line(self, state: RunState, now: float) -> RunMachine:
        """A new run of a workflow with a limit: it begins, waits for its place, or is not to be."""
        self._stored.take(None, state)
        self._sent.clear()
        why: Exception | None
        try:
            why = await take_place(self._host, self.definition, state, now)
        except (NotConnected, LineFull, Conflict):
            raise
        except Exception as error:  # the payload's, or the key's
            why = error
        if why is None:
            await self._suspect([])
            return self._begin(state, [])
        self._machine = machine = machine_of(self.definition, state, [], self._host.environment)
        machine.fail(why, now)
        return machine

    async def _take_place(self, machine: RunMachine, now: float) -> float:
        """A run that waits, or has come to its instant, asks for its place; answers the instant at which it has been answered."""
        why: Exception | None
        try:
            why = await take_place(self._host, self.definition, machine.state, now)
        except (AikiError, ValueError, TypeError, LookupError, AttributeError) as error:
            if isinstance(error, NotConnected | Conflict):
                raise
            why = error
        machine.dirty = True
        if why is not None:
            machine.fail(why, now)
        return now

    async def _begin_fork(self, state: RunState, fork: Fork) -> RunMachine:
        """A new run that begins with another one's journal."""
        self._stored.take(None, state)
        self._sent.clear()
        try:
            if must_ask(self.definition, state, now := self._host.now(), new=True):
                await take_place(self._host, self.definition, state, now, forked=True)
            journal = await self._stored.forked(state, fork, self._host.now())
            await self._large.bring_journal(state, journal, another=True)
        except (RunNotFound, StepNotFound, PayloadLost) as error:
            self._machine = machine = machine_of(self.definition, state, [], self._host.environment)
            machine.fail(error, self._host.now())
            return machine
        self._new = state  # held, it must have the other's journal: that may be gone when it goes on
        await self._suspect(journal)
        machine = self._begin(state, journal)
        machine.dirty = True
        return machine

    async def _go_back(self, machine: RunMachine, word: Reset, now: float) -> None:
        """A run that has not ended is taken back to a step."""
        journal = await self._stored.journal(machine.state)
        if (made := machine.go_back(word, journal, now)) is not None:
            await self._stored.rewrite(machine.state, made)

    async def _suspect(self, journal: list[Entry]) -> None:
        """Before code is run whose last host may have died of it."""
        if self._suspected and self._trial is None:
            key = self._host.subjects.taken(self.run_id)
            self._trial = await self._host.evidence.take(key, progress=sum(isinstance(entry, RecordedStep) for entry in journal))
            self._stored.current = False  # that took its time

    def _begin(self, state: RunState, journal: list[Entry]) -> RunMachine:
        machine = machine_of(self.definition, state, journal, self._host.environment)
        machine.claims = self._large.claims
        self._host.watchdog.enter(self.run_id)
        self._machine = machine
        try:
            machine.begin(self._host.now())
        finally:
            self._host.watchdog.leave()
        return machine

    async def _find_start(self) -> Start | None:
        """The start of a run that a message has overtaken: it waits for a worker, or for its instant."""
        definition, subjects, store = self.definition, self._host.subjects, self._host.store
        return await store.start(subjects.run_start(definition.name, definition.version, self.run_id)) or await store.start(
            subjects.delayed_start(self.run_id)
        )

    def _serves(self, state: RunState) -> bool:
        """Another version's run may have the idempotency key of a start: it is no business of this code."""
        return (state.workflow, state.version) == (self.definition.name, self.definition.version)

    async def _load_again(self, machine: RunMachine) -> RunMachine:
        """What another host would make of the state as we hold it. Local steps that run here go on: their outcomes fit either machine."""
        issued, dirty, rung, between_attempts = machine.issued, machine.dirty, machine.rung, machine.state.retry_at is not None
        state = decode_state(encode_state(machine.snapshot(self._host.now())))
        journal = await self._stored.journal(state)
        unwritten = dict(self._large.claims.unwritten)
        self._drop_machine()
        self._large.claims.unwritten.update(unwritten)
        await self._large.bring_journal(state, journal)
        machine = self._begin(state, journal)
        machine.dirty |= dirty
        machine.rung = rung
        if not between_attempts and machine.issued != issued:
            machine.fail(says_otherwise(issued, machine.issued), self._host.now())
        return machine

    async def _commit(self, machine: RunMachine, now: float) -> None:
        state = machine.snapshot(now)
        if self._sent:
            state.outbox = [entry for entry in state.outbox if entry.serial not in self._sent]
        await self._stored.commit(state)
        machine.dirty = machine.rung = False
        self._sent.clear()

    def _drop_machine(self) -> None:
        self._large.claims.drop()
        if self._machine is not None:
            self._machine.evict()
            self._machine = None

    # -- ends

    def _release_early(self) -> None:
        """What is committed and sent is done, but for the message that stands behind the turn.

        That one may be here more than once, redelivered or by way of the mailbox, and to settle any copy could take it away: all copies are
        kept.
        """
        if len(self._held) < 2 or self._unproven:
            return
        standing = next((envelope for envelope in self._held if envelope not in self._late), None)
        if standing is None:
            return
        anchor = identity(standing.message)
        kept = []
        for envelope in self._held:
            if (own := identity(envelope.message)) is None or own == anchor or envelope in self._late:
                kept.append(envelope)
            else:
                envelope.done()
        self._held = kept

    def _refuse_all(self, delay: float) -> None:
        for envelope in (*self._held, *self._batch):
            envelope.refuse(delay)
        self._held.clear()
        self._batch.clear()
        self._late.clear()
        self._unproven = False

    def _settle_all(self) -> None:
        self._held.extend(self._batch)
        self._batch.clear()
        for envelope in self._held:
            envelope.done()
        self._held.clear()
        self._late.clear()

    async def _end(self, machine: RunMachine) -> None:
        state = machine.state
        self._host.outbox.forget_alarms(state)
        await give_place_back(self._host, self.definition, state)
        await self._host.run_ended(state)
        if state.outbox:
            # Whoever reads the final state need not send this again.
            await self._commit(machine, self._host.now())
        if state.awaits_archive:
            await self._host.ask_for_archive(state)
        self._refuse_answers(state)
        self._settle_all()
        self.evict()

    async def _end_again(self, state: RunState) -> None:
        """Messages have reached a run that has ended: its host may have died before it had told everybody."""
        await self._stored.end_again(state)
        await give_place_back(self._host, self.definition, state)
        if state.awaits_archive:
            await self._host.ask_for_archive(state)
        if state.outbox:
            pending = {(step.address, step.ordinal): step for step in state.pending}
            await self._host.outbox.flush(state, pending.get, set(), again=True)
        if state.begins_at is not None:
            await self._host.outbox.forget_start(self.run_id)
        await self._host.run_ended(state, again=True)
        for message in (envelope.message for envelope in self._batch):
            if isinstance(message, Start) and message.notify:
                same = message.input_hash == state.input_hash or message.shares
                ended = ended_of(state) if same else conflict(message)
                # Whoever has heard of this end before may want the run once more, under its key: the stream must not take it for known.
                await self._host.outbox.notify(message.notify, encode(ended), f"{self.run_id}/ended/{self._host.next_operation()}")
            elif isinstance(message, Update) and message.reply:
                self._replies.setdefault(message.id, set()).add(message.reply)
        if self._replies:
            await self._answer_again(state)
        self._refuse_answers(state)

    async def _answer_again(self, state: RunState) -> None:
        """An update may have been the last that the run did, and its answer was lost: the journal still tells it."""
        if state.imported:
            return
        journal = await self._stored.journal(state)
        if not any(isinstance(entry, Updated) and entry.id in self._replies for entry in journal):
            return
        machine = machine_of(self.definition, reopened(state), journal, self._host.environment)
        machine.claims = self._large.claims
        await self._large.bring_journal(state, journal)
        try:
            machine.begin(state.updated_at)
            self._answer(machine)
        finally:
            machine.evict()

    def _refuse_answers(self, state: RunState) -> None:
        if not self._replies:
            return
        error = ErrorInfo.of(RunEnded(f"run {self.run_id} has ended ({state.status}): it handles no updates any more"))
        for id, replies in self._replies.items():
            for reply in replies:
                self._host.answer(reply, Answer(id, b"", error))
        self._replies.clear()

    async def _failed(self, error: Exception) -> None:
        """A turn failed by no fault of the workflow: try again later, and after some failures hold the run where everybody can see it."""
        self._failures += 1
        delay = min(0.2 * 2**self._failures, 60.0)
        _log.error("run %s: turn failed (%d in a row), next try in %.1f s", self.run_id, self._failures, delay, exc_info=error)
        self.evict()
        if self._failures >= MAX_FAILURES:
            await self._hold(error)
        self._refuse_all(delay)

    def _acquit(self) -> None:
        """The turn is over, and we are still here."""
        self._suspected = False
        if self._trial is not None:
            self._trial.passed()
            self._trial = None

    async def _put_aside(self, reason: Exception) -> None:
        """The run is not to go on now; its messages leave the queue, or come again later."""
        try:
            match reason:
                case Poisoned():
                    await self._give_up(reason)
                case _Held():
                    await self._keep_mail()
                case TriedElsewhere():
                    self._refuse_all(ANOTHER_FIRST)
                case _:
                    await self._hold(reason)
                    self._refuse_all(HELD_AGAIN)
        except Conflict:  # somebody lives who goes on with it
            self._refuse_all(ACK_WAIT)
        except NotConnected:
            raise
        except Exception as error:
            await self._failed(error)

    async def _give_up(self, poisoned: Poisoned) -> None:
        start = next((envelope.message for envelope in self._batch if isinstance(envelope.message, Start)), None)
        new = self._new
        if new is None and (start := start or await self._find_start()) is not None:
            new = new_run(start, self._host.now())
        if await bury_run(self._host.dead, self._stored, new, self._mailbox, self._batch, poisoned):
            await self._keep_mail()
        elif any(isinstance(envelope.message, Again | Reset) for envelope in self._batch):
            _log.error("run %s, which had ended, kills its workers when it is taken up again: it stays as it was", self.run_id)
            self._settle_all()
        else:
            self._refuse_all(ACK_WAIT)

    async def _keep_mail(self) -> None:
        envelopes = [*self._held, *self._batch]
        await keep_mail(self._host.dead, self._host.store, self.run_id, self._mailbox, envelopes)
        self._refuse_all(0.0)

    async def _hold(self, error: Exception) -> None:
        try:
            await self._stored.hold(error)
        except Exception as failure:
            _log.error("run %s could not be marked as held: %s", self.run_id, failure)

    # -- local steps

    def _is_begun(self, id: StepId) -> bool:
        """A machine that has replaced another one in the middle of a turn names steps that run already, or have just ended."""
        messages = (envelope.message for envelope in self._inbox)
        return id in self._local or any(
            isinstance(each, StepResult | StepFailedOnce | CacheMissed) and (each.address, each.ordinal) == id for each in messages
        )


def ended_of(state: RunState) -> Ended:
    """What others are told of a run's end."""
    return Ended(state.run_id, state.status, state.result, state.error)


def _report(activation: "weakref.ref[Activation]", message: Mail) -> None:
    """A local step has come to something. While it runs, the host holds its activation: the reference is weak so that there is no cycle."""
    if (alive := activation()) is not None:
        alive.deliver(LocalEnvelope(message))


def _set(signal: "asyncio.Future[None]") -> None:
    if not signal.done():
        signal.set_result(None)
