"""An actor in this process's hands: gives it turns.

A turn takes what waits in the inbox, runs the handlers one after another on a draft of the state, writes the draft by one compare-and-set
with the outbox inside, sends the outbox, and only then answers. What changes nothing is not written, but before it is answered the revision
is read again: nothing is judged by a stale view. Who loses the compare-and-set forgets all it knows and judges the messages anew.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Any, Protocol

from aiki.actors.unreadable import LEFT_FOR
from aiki.entities.caller import Caller
from aiki.entities.definitions import EntityDefinition
from aiki.entities.envelope import Envelope, doubt
from aiki.entities.outbox import Outbox
from aiki.entities.scope import deadlock
from aiki.entities.state import EntityState, OutTell, decode_entity, encode_entity, new_entity, short_name
from aiki.entities.verdict import Judge
from aiki.kv import EntityStore
from aiki.transport.surely import surely
from aiki.types.actor_messages import Answer, Path
from aiki.types.errors import CodecError, Conflict, NotConnected, PayloadTooLarge
from aiki.types.failure import ErrorInfo

__all__ = ["Activation", "ActivationHost"]

BATCH_SECONDS = 0.005
"""After which a turn commits what it has, though more waits."""
SLOW_SECONDS = 0.001
"""A handler that has taken longer is not run before the answers of those before it are committed."""
TRY_AGAIN = 1.0
"""Seconds after which a message comes again whose turn has failed."""
PATHS_MOST = 32

_log = logging.getLogger("aiki.entities")


class ActivationHost(Protocol):
    """What an activation needs from its host."""

    subject: str
    store: EntityStore
    outbox: Outbox
    caller: Caller

    def now(self) -> float: ...
    def next_operation(self) -> str: ...
    def turn_began(self, activation: "Activation") -> None: ...
    def turn_ended(self, activation: "Activation") -> None: ...
    def withdraw(self, actor: str, call_id: str) -> None:
        """Nobody waits for that call any more."""

    async def forward(self, envelope: Envelope, owner: str) -> bool:
        """Have another host see to it; False when that does not answer."""


class Activation:
    """One actor. `state` is None while it is not in memory."""

    __slots__ = (
        "_host",
        "_judge",
        "_lock",
        "_one_by_one",
        "_settled",
        "_takes_over",
        "_turn_task",
        "asking",
        "current",
        "definition",
        "draft",
        "idle_since",
        "inbox",
        "instance",
        "key",
        "revision",
        "sent",
        "state",
    )

    def __init__(self, host: ActivationHost, definition: EntityDefinition, key: str) -> None:
        self.definition = definition
        self.key = key
        self.inbox: deque[Envelope] = deque()
        self.current: Envelope | None = None
        self.asking: dict[str, str] = {}
        """Calls that the running handler waits for, and at which actor."""
        self.state: EntityState | None = None
        self.draft: EntityState | None = None
        self.instance: Any = None
        self.revision = 0
        self.idle_since = 0.0
        self.sent: set[int] = set()
        self._host = host
        self._judge = Judge(self, host)
        self._settled: list[tuple[Envelope, Answer | float]] = []
        self._one_by_one = self._takes_over = False
        self._lock = asyncio.Lock()
        self._turn_task: asyncio.Task[None] | None = None

    @property
    def turn(self) -> "asyncio.Task[None] | None":
        """The turn that is going on."""
        return self._turn_task

    def deliver(self, envelope: Envelope) -> None:
        """A call has come."""
        if (chain := self._circle(envelope.paths)) is not None:
            envelope.answer(self._deadlocked(envelope, chain))
            return
        self.inbox.append(envelope)
        if self._turn_task is None:
            self._host.turn_began(self)
            self._turn_task = asyncio.create_task(self._turns())

    def evict(self) -> None:
        """Forget the state: it is read again when it is needed."""
        self.state = self.draft = self.instance = None
        self.sent = set()
        self._judge.forget()

    def retire(self) -> None:
        """Nobody has it any more. It and its judge know each other: left to the garbage collector, thousands would pile up."""
        self.evict()
        self._judge.release()

    @property
    def waiting(self) -> list[Envelope]:
        """The calls that have no answer yet."""
        current = () if self.current is None else (self.current,)
        return [*(envelope for envelope, _ in self._settled), *current, *self.inbox]

    def stop(self) -> None:
        """End the turn; what waits is handed over."""
        if self._turn_task is not None:
            self._turn_task.cancel()

    # -- who waits for whom

    def paths(self) -> tuple[Path, ...]:
        """Who waits for the running handler, transitively: each path ends with this actor."""
        waiting = [] if self.current is None else [self.current]
        found = [(*path, self.key) for envelope in (*waiting, *self.inbox) for path in envelope.paths]
        return tuple(dict.fromkeys(found))[:PATHS_MOST] or ((self.key,),)

    def probe(self, call_id: str, paths: tuple[Path, ...]) -> None:
        """More wait for a call that waits here; without paths: whoever waited has given up."""
        for envelope in (*self.inbox, *((self.current,) if self.current is not None else ())):
            if envelope.call.id != call_id:
                continue
            envelope.paths = tuple(dict.fromkeys((*envelope.paths, *paths)))[:PATHS_MOST] if paths else ()
            if envelope is not self.current and (chain := self._circle(paths)) is not None:
                self.inbox.remove(envelope)
                envelope.answer(self._deadlocked(envelope, chain))

    def _circle(self, paths: tuple[Path, ...]) -> Path | None:
        return next(((*path[path.index(self.key) :], self.key) for path in paths if self.key in path), None)

    def _deadlocked(self, envelope: Envelope, chain: Path) -> Answer:
        return Answer(envelope.call.id, b"", ErrorInfo.of(deadlock(chain)), self._host.subject, chain)

    # -- turns

    async def _turns(self) -> None:
        try:
            while self.inbox:
                await self._turn()
        except asyncio.CancelledError:
            self._hand_over(0.0)
            raise
        except NotConnected:
            self._hand_over(0.0)
        except CodecError as error:
            _log.error("actor %s cannot be read here: %s; its messages are offered again in %g s", self.key, error, LEFT_FOR)
            self._hand_over(LEFT_FOR)
        except Exception:
            _log.exception("actor %s: a turn failed; its messages are tried again in %g s", self.key, TRY_AGAIN)
            self._hand_over(TRY_AGAIN)
        finally:
            self._turn_task = None
            self._host.turn_ended(self)

    def _hand_over(self, delay: float) -> None:
        self.evict()
        for envelope, _ in self._settled:
            envelope.refuse(delay)
        self._settled.clear()
        if self.current is not None:
            self.current.refuse(delay)
            self.current = None
        while self.inbox:
            self.inbox.popleft().refuse(delay)

    async def _turn(self) -> None:
        most = None
        if self.state is None:
            # What is here now is judged by a state that is read after it came.
            most = len(self.inbox)
            if not await self._load():
                return
        try:
            await self._run_handlers(most)
            await self.settle(verify=most is None)
        except Conflict:
            self._once_more()
            # What this turn has committed before, or a copy of what waits, may have been forgotten by who went ahead.
            for envelope in self.inbox:
                doubt(envelope)
        except PayloadTooLarge as error:
            # One of them makes the state too large to be stored: find out which, and tell its sender.
            if len(self._settled) == 1:
                envelope, _ = self._settled.pop()
                self.evict()
                envelope.answer(Answer(envelope.call.id, b"", ErrorInfo.of(error), self._host.subject))
            self._once_more()
            self._one_by_one = True

    def _once_more(self) -> None:
        self.evict()
        if self.current is not None:
            self.inbox.appendleft(self.current)
            self.current = None
        self.inbox.extendleft(envelope for envelope, _ in reversed(self._settled))
        self._settled.clear()

    async def _load(self) -> bool:
        """Read the state; False when another host has the actor and was asked to see to what is here; what is left comes next."""
        host = self._host
        stored = (await surely(lambda: host.store.read(self.key))).answer
        if stored is None:
            self.state, self.revision = new_entity(self.key, self.definition.fresh()), 0
            return True
        state = decode_entity(stored.value)
        owner = state.host
        if owner and owner != host.subject and not self._takes_over and any(not envelope.call.forwarded for envelope in self.inbox):
            self._takes_over = not await self._forward(owner)
            return False  # time has passed: what was read counts for nothing any more
        self._takes_over = False
        if owner != host.subject:
            self._doubt_late(self.inbox)
        self.state, self.revision = state, stored.revision
        if state.outbox:
            await self._send_owed(state)
        return True

    async def _forward(self, owner: str) -> bool:
        """Give what waits to the host that has the actor; False when that does not take it, so that it is ours."""
        while self.inbox:
            if self.inbox[0].call.forwarded:
                return False
            self._doubt_late(islice(self.inbox, 1))
            envelope = self.current = self.inbox.popleft()
            if not await self._host.forward(envelope, owner):
                self.inbox.appendleft(envelope)
                self.current = None
                return False
            self.current = None
        return True

    def _doubt_late(self, envelopes: Iterable[Envelope]) -> None:
        """Another host has had the actor: it may have applied, and forgotten, copies of these."""
        for envelope in envelopes:
            if not envelope.alone:
                doubt(envelope)

    async def _run_handlers(self, most: int | None) -> None:
        loop = asyncio.get_running_loop()
        began = now = loop.time()
        assert self.state is not None
        self.draft = self.state.draft()
        self.draft.outbox = [entry for entry in self.draft.outbox if entry.serial not in self.sent]
        count = 0
        while self.inbox and (most is None or count < most):
            envelope = self.inbox[0]
            if self._settled and self._judge.slow(envelope):
                return
            self.current = self.inbox.popleft()
            outcome = await self._judge.judge(self.draft, envelope)
            self.current = None
            self._settled.append((envelope, outcome))
            count += 1
            before, now = now, loop.time()
            if now - before > SLOW_SECONDS:
                self._judge.took_long(envelope)
            if now - began > BATCH_SECONDS or self._one_by_one:
                break
        self._one_by_one = False

    async def settle(self, *, verify: bool = True) -> None:
        """Commit what the handlers have done so far, send what is owed, and answer. `Conflict` when another host went ahead."""
        async with self._lock:  # a handler may ask several others at a time
            if self._settled and self.draft is not None:
                await self._settle(self.draft, verify)

    async def _settle(self, draft: EntityState, verify: bool) -> None:
        host = self._host
        if self._judge.dirty:
            if draft.outbox and any(entry.serial not in self.sent for entry in draft.outbox) and not self._stands_behind():
                await host.outbox.stand_behind(draft, host.now())
            await self._commit(draft)
            if draft.outbox:
                await self._send_owed(draft)
        elif verify:
            stored = (await surely(lambda: host.store.read(self.key))).answer
            if (0 if stored is None else stored.revision) != self.revision:
                raise Conflict(f"another host has changed actor {self.key}", subject=self.key)
        settled, self._settled = self._settled, []
        for envelope, outcome in settled:
            if isinstance(outcome, Answer):
                envelope.answer(outcome)
            else:
                envelope.refuse(outcome)

    def _stands_behind(self) -> bool:
        """Whether a message that does not expire comes again if this host dies now."""
        return any(envelope.mail and not envelope.call.ask for envelope, _ in self._settled)

    async def _commit(self, draft: EntityState) -> None:
        host = self._host
        now = host.now()
        if draft.crowded():
            # Also a copy that waits here comes again, though another one has been settled.
            here = {short_name(envelope.call.id) for envelope in self.inbox}
            draft.settle_mail(here | await host.caller.waiting_mail(draft.actor))
        draft.forget_old(now)
        draft.host = host.subject
        draft.changed_at = now
        ttl = self.definition.ttl
        if ttl is not None and draft.reminders:
            ttl += max(0.0, max(each.due for each in draft.reminders.values()) - now)
        self.revision = await host.store.commit(
            self.key, encode_entity(draft), self.revision, state=draft.status, operation=host.next_operation(), ttl=ttl
        )
        self._judge.dirty = False
        self.state = draft.draft()

    async def _send_owed(self, state: EntityState) -> None:
        """Send the outbox. Tells are struck out at once: their ids protect them for two minutes only. Alarms do no harm."""
        await self._host.outbox.flush(state, self.sent)
        for serial in self._judge.cancelled:
            self._host.outbox.forget_alarm(state, serial)
        self._judge.cancelled.clear()
        if any(isinstance(entry, OutTell) for entry in state.outbox):
            state.outbox = [entry for entry in state.outbox if entry.serial not in self.sent]
            await self._commit(state)
