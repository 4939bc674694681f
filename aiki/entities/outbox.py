"""The outbox: what an actor's commits owe to others, sent after the commit and before its message is acknowledged."""

import asyncio
from functools import partial

from aiki.entities.state import EntityState, OutAlarm, OutTell, short_name
from aiki.transport.port import Ack, Transport
from aiki.transport.surely import surely
from aiki.types.actor_messages import ALARM, Call, encode
from aiki.types.subjects import Subjects

__all__ = ["POKE", "Outbox"]

POKE = "$poke"
"""The handler's name in a call that changes nothing, but has the actor loaded and with it what it owes sent."""
POKE_AFTER = 30.0
"""Seconds after which what stands behind a commit for which nobody holds a durable message comes."""


class Outbox:
    """Sends what actors owe. Each message has an id of its own, so that sending it again is harmless."""

    def __init__(self, transport: Transport, subjects: Subjects) -> None:
        self._transport = transport
        self._subjects = subjects

    async def flush(self, state: EntityState, sent: set[int]) -> None:
        """Send the entries whose serial is not in `sent`, and add them to it."""
        owed = [entry for entry in state.outbox if entry.serial not in sent]
        await asyncio.gather(*(surely(partial(self._publish, state, entry)) for entry in owed))
        sent.update(entry.serial for entry in owed)

    async def stand_behind(self, state: EntityState, now: float) -> None:
        """Before a commit that owes something and that no durable message stands behind: one is scheduled that will see to it."""
        call = encode(Call(POKE, state.actor, POKE, b"null", now))
        subject = self._subjects.actor_reminder(state.actor, POKE)
        target = self._subjects.actor_mailbox(state.actor) + "poke"
        await surely(lambda: self._transport.schedule(subject, now + POKE_AFTER, target, call))

    def forget_alarm(self, state: EntityState, serial: int) -> None:
        """A reminder is cancelled: drop its alarm, without waiting. One that rings all the same finds nothing."""
        subject = self._subjects.actor_reminder(state.actor, f"{state.born}-{serial}")
        task = asyncio.ensure_future(self._transport.cancel_schedule(self._subjects.mail_stream, subject))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())

    def _publish(self, state: EntityState, entry: OutTell | OutAlarm) -> "asyncio.Future[Ack]":
        call_id = state.call_id(entry.serial)
        if isinstance(entry, OutTell):
            call = Call(call_id, entry.actor, entry.handler, entry.payload, entry.at, keep=True)
            subject = self._subjects.actor_mailbox(entry.actor) + short_name(call_id)
            return self._transport.publish(subject, encode(call), message_id=f"tell/{call_id}")
        # Each alarm has a subject of its own: one that an outdated host sends again must not replace a newer one.
        alarm = encode(Call(call_id, state.actor, ALARM, b"null", entry.due))
        subject = self._subjects.actor_reminder(state.actor, f"{state.born}-{entry.serial}")
        target = self._subjects.actor_mailbox(state.actor) + short_name(call_id)
        return self._transport.schedule(subject, entry.due, target, alarm, message_id=f"alarm/{call_id}")
