"""What becomes of a call: the handler is run on a draft of the state, and supervised."""

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from aiki.entities.outbox import POKE
from aiki.entities.scope import Scope
from aiki.entities.state import Applied, EntityState, OutAlarm, OutTell, Reminder, short_name
from aiki.types.actor_messages import ALARM, RESUME, Answer, Call
from aiki.types.errors import (
    ActorHeld,
    ActorStopped,
    ActorTimeout,
    AikiError,
    Conflict,
    OutcomeUnknown,
    PayloadError,
    UnknownHandler,
)
from aiki.types.failure import ErrorInfo

if TYPE_CHECKING:
    from aiki.entities.activation import Activation, ActivationHost
    from aiki.entities.envelope import Envelope

__all__ = ["Judge"]

HELD_DELAY = 5.0
"""Seconds after which a message comes again whose actor is held."""
UNKNOWN_KEPT = 3600.0
"""Seconds for which a message is kept whose handler no worker has (yet)."""
CLOCK_SLACK = 5.0
"""Seconds by which the clocks of a sender and a host may differ."""

_log = logging.getLogger("aiki.entities")


class Judge:
    """Judges the calls of one actor, one at a time. `dirty`: the draft has changed since the last commit."""

    __slots__ = ("_actor", "_host", "_slow", "cancelled", "dirty")

    def __init__(self, actor: "Activation", host: "ActivationHost") -> None:
        self._actor = actor
        self._host = host
        self._slow: set[str] | None = None
        self.dirty = False
        self.cancelled: list[int] = []

    def forget(self) -> None:
        """The draft is given up."""
        self.dirty = False
        self.cancelled.clear()

    def release(self) -> None:
        """The actor leaves the memory, and must not be held by this."""
        del self._actor

    def slow(self, envelope: "Envelope") -> bool:
        """Whether that handler has been seen to take long."""
        return self._slow is not None and envelope.call.handler in self._slow

    def took_long(self, envelope: "Envelope") -> None:
        self._slow = {*(self._slow or ()), envelope.call.handler}

    async def judge(self, draft: EntityState, envelope: "Envelope") -> Answer | float:
        """The answer; or the seconds after which the message is to come again."""
        call = envelope.call
        if (known := draft.recorded(call.id)) is not None:
            return self._answer(call, known.value)
        if call.handler in (RESUME, POKE):
            if call.handler == RESUME and draft.status != "active":
                self._resume(draft)
            return self._answer(call, b"null")
        if draft.status == "held":
            return self._refused(call, ActorHeld, draft, "is held, since a handler failed: resume it") if call.ask else HELD_DELAY
        if draft.status == "stopped":
            return self._refused(call, ActorStopped, draft, "was stopped, since a handler failed: resume it to begin anew")
        if call.again and draft.forgot_at and call.sent_at <= draft.forgot_at + CLOCK_SLACK:
            if call.ask:
                return self._error(
                    call, OutcomeUnknown(f"actor {draft.actor}: {call.handler} may have been done, which is forgotten by now")
                )
            # What is still in the mailbox is not forgotten, so it was not done; what is not there any more was.
            if not await self._host.caller.waits_in_mail(draft.actor, call.id):
                return self._answer(call, b"null")
        if call.handler == ALARM:
            return await self._ring(draft, envelope)
        return await self._run(draft, envelope, call.handler, call.payload)

    async def _ring(self, draft: EntityState, envelope: "Envelope") -> Answer | float:
        call = envelope.call
        name = next((name for name, each in draft.reminders.items() if draft.call_id(each.serial) == call.id), None)
        if name is None:
            return self._answer(call, b"null")
        reminder = draft.reminders.pop(name)
        outcome = await self._run(draft, envelope, reminder.handler, reminder.payload)
        if isinstance(outcome, float):  # held: it comes again
            draft.reminders[name] = reminder
            return outcome
        if reminder.every is not None and name not in draft.reminders and draft.status == "active":
            missed = max(0, int((self._host.now() - reminder.due) // reminder.every))
            self._set(draft, name, reminder.due + (missed + 1) * reminder.every, reminder.every, reminder.handler, reminder.payload)
        self.dirty = True
        return outcome

    async def _run(self, draft: EntityState, envelope: "Envelope", handler: str, payload: bytes) -> Answer | float:
        actor, definition, call = self._actor, self._actor.definition, envelope.call
        read_only = definition.read_only(handler)
        if read_only is None:
            if not call.ask and self._host.now() - call.sent_at < UNKNOWN_KEPT:
                _log.warning("actor %s has no handler %r: the message waits for a worker with newer code", draft.actor, handler)
                return HELD_DELAY
            return self._error(call, UnknownHandler(f"actor type {definition.name!r} has no handler {handler!r}"))
        try:
            argument = definition.argument(handler, payload)
        except PayloadError as error:
            return self._error(call, error)
        instance, actor.instance = actor.instance, None
        if instance is None:
            try:
                instance = definition.revive(draft.data)
            except PayloadError as error:
                if call.ask:
                    return self._error(call, error)
                _log.error("actor %s cannot be read, its messages wait: %s", draft.actor, error)
                return HELD_DELAY
        scope = Scope(call, self._host.now(), self._ask, actor.paths, read_only=read_only)
        try:
            value = await definition.call(instance, handler, argument, scope)
            data = draft.data if read_only else definition.freeze(instance)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return self._failed(draft, call, handler, error)
        except Conflict:
            raise
        except Exception as error:
            return self._failed(draft, call, handler, error)
        finally:
            scope.close()
            actor.asking.clear()
        if not read_only:
            actor.instance = instance
        if data != draft.data or scope.effects:
            self._apply(draft, envelope, data, value, scope)
        return self._answer(call, value)

    def _apply(self, draft: EntityState, envelope: "Envelope", data: bytes, value: bytes, scope: Scope) -> None:
        call, now = envelope.call, self._host.now()
        draft.data = data
        draft.applied.append(Applied(short_name(call.id), now, value if call.ask else b"", call.keep, envelope.mail))
        for tell in scope.tells:
            draft.outbox.append(OutTell(draft.next_serial(), tell.actor, tell.handler, tell.payload, now))
        for name, planned in scope.reminders.items():
            self._cancel(draft, name)
            if planned is not None:
                self._set(draft, name, planned.due, planned.every, planned.handler, planned.payload)
        self.dirty = True

    def _set(self, draft: EntityState, name: str, due: float, every: float | None, handler: str, payload: bytes) -> None:
        serial = draft.next_serial()
        draft.reminders[name] = Reminder(serial, due, handler, payload, every)
        draft.outbox.append(OutAlarm(serial, due))

    def _cancel(self, draft: EntityState, name: str) -> None:
        old = draft.reminders.pop(name, None)
        if old is not None:
            draft.outbox = [entry for entry in draft.outbox if entry.serial != old.serial]
            self.cancelled.append(old.serial)

    async def _ask(self, actor: str, handler: str, payload: bytes, *, id: str, timeout: float | None) -> bytes:
        """For the running handler. Those before it must not wait for what it waits for: they are committed and answered first."""
        await self._actor.settle()
        self._actor.asking[id] = actor
        try:
            return await self._host.caller.ask(actor, handler, payload, id=id, timeout=timeout, keep=True, paths=self._actor.paths())
        except (ActorTimeout, asyncio.CancelledError):
            self._host.withdraw(actor, id)
            raise
        finally:
            self._actor.asking.pop(id, None)

    def _failed(self, draft: EntityState, call: Call, handler: str, error: BaseException) -> Answer | float:
        policy = self._actor.definition.on_error
        _log.warning("actor %s: %s failed (%s): %s", draft.actor, handler, policy, error, exc_info=error)
        info = ErrorInfo.of(error)
        if policy != "restart":
            draft.status, draft.error = ("held" if policy == "hold" else "stopped"), info.brief()
            if policy == "stop":
                draft.data = self._actor.definition.fresh()
                self.cancelled.extend(each.serial for each in draft.reminders.values())
                draft.reminders.clear()
            self.dirty = True
            if policy == "hold" and not call.ask:
                return HELD_DELAY
        chain = error.fields.get("chain", ()) if isinstance(error, AikiError) else ()
        return Answer(call.id, b"", info, self._host.subject, chain, failed=True)

    def _resume(self, draft: EntityState) -> None:
        if draft.status == "stopped":
            draft.begin_again(self._actor.definition.fresh())
            self._actor.instance = None
        draft.status, draft.error = "active", None
        self.dirty = True

    def _refused(self, call: Call, kind: type[AikiError], draft: EntityState, why: str) -> Answer:
        cause = f" ({draft.error})" if draft.error is not None else ""
        return self._error(call, kind(f"actor {draft.actor} {why}{cause}"))

    def _error(self, call: Call, error: AikiError) -> Answer:
        if not call.ask:
            _log.error("actor %s: a message to %r is dropped: %s", call.actor, call.handler, error)
        return Answer(call.id, b"", ErrorInfo(type=type(error).__name__, message=error.message, code=error.code), self._host.subject)

    def _answer(self, call: Call, value: Any) -> Answer:
        return Answer(call.id, value, None, self._host.subject)
