"""A turn of a schedule: one message, taken to the point where nothing is left to be done and nothing is owed.

Read the state from the leader, decide, commit by compare-and-set with the outbox inside, send the outbox, commit that it is sent. Only then
is the message acknowledged. Whoever dies in between leaves the message behind, and somebody else repeats what is left; what was sent before
is sent under the same message id and the same run id. Whoever loses the compare-and-set reads again and decides again.
"""

import asyncio
import contextlib
import secrets
from functools import partial
from typing import Any

from aiki.client import Client
from aiki.kv import ScheduleStore, StoredState
from aiki.schedules import OutEnd, OutRecall, OutStart, ScheduleState, SetAlarm, decode_schedule, encode_schedule, machine
from aiki.sealing import carried_start
from aiki.transport.surely import surely
from aiki.types.errors import Conflict, VersionRetired
from aiki.types.messages import Cancel, Ended, Mail, Start, Wake, encode
from aiki.types.names import to_token
from aiki.types.states import is_final

__all__ = ["AHEAD", "Turn"]

AHEAD = 5.0
"""Seconds by which alarms are set early.

A firing that nothing stands in the way of is decided then, and its start is given to the server, which keeps it until its instant:
however many schedules are due at one instant, their starts are there. Where a run goes on that may end in time, the alarm waits here.
"""

AT_ONCE = 0.005
"""Seconds: a start that is due sooner is not worth a timer of the server's."""


class Turn:
    """Turns of the schedules of one region."""

    def __init__(self, client: Client) -> None:
        self._transport = client.transport
        self._subjects = client.subjects
        self._runs = client.store
        self._waiting_start = client.waiting_start
        self._clock = client.clock
        self._retired = client.retired
        self._store = ScheduleStore(client.transport, client.subjects)

    async def take(self, key: str, message: Mail) -> None:
        """Do all that `message` asks of the schedule with this key. When this returns, the message may be acknowledged."""
        least = 0.0
        stored = await self._store.read(key)
        if isinstance(message, Wake):
            # The server's clock counts: by it, no more than `AHEAD` seconds are left.
            left = min(max(message.due - self._clock.now(), 0.0), AHEAD)
            if left > 0 and stored is not None and not machine.can_decide(decode_schedule(stored.value), message.serial):
                await asyncio.sleep(left)
                stored = await self._store.read(key)
            least = message.due
        while stored is not None:
            state = decode_schedule(stored.value)
            with contextlib.suppress(Conflict):
                if state.outbox:
                    await self._settle(key, stored, state)
                elif not await self._step(key, stored, state, message, max(self._clock.now(), least)):
                    return
            stored = await self._store.read(key)

    async def _step(self, key: str, stored: StoredState, state: ScheduleState, message: Mail, now: float) -> bool:
        if isinstance(message, Wake):
            machine.ring(state, message.serial)
        elif isinstance(message, Ended):
            machine.end_run(state, message.run_id)
        if state.running and machine.firing_is_due(state, now):
            for run_id in await self._ended(state):
                machine.end_run(state, run_id)
        machine.advance(state, now)
        # Only what this turn decides is refused: a start that was committed before may have been sent.
        if any(isinstance(entry, OutStart) for entry in state.outbox):
            try:
                await self._retired.check(state.workflow, state.version)
            except VersionRetired as error:
                machine.refuse(state, now, str(error))
        value = encode_schedule(state)
        if value == stored.value:
            return False
        revision = await self._commit(key, value, stored.revision)
        if state.outbox:
            await self._settle(key, StoredState(value, revision, ""), state)
        return True

    async def _settle(self, key: str, stored: StoredState, state: ScheduleState) -> None:
        """Send what the state owes, then strike it out."""
        await self._send(state)
        state.outbox = []
        await self._commit(key, encode_schedule(state), stored.revision)

    async def _commit(self, key: str, value: bytes, revision: int) -> int:
        return await self._store.commit(key, value, revision, state="schedule", operation=secrets.token_hex(8))

    async def _send(self, state: ScheduleState) -> None:
        await asyncio.gather(*(surely(partial(self._publish, state, entry)) for entry in state.outbox))

    def _publish(self, state: ScheduleState, entry: OutStart | SetAlarm | OutEnd | OutRecall) -> "asyncio.Future[Any]":
        mailbox = self._subjects.schedule_mail + to_token(state.id)
        if isinstance(entry, SetAlarm):
            return self._transport.schedule(
                f"{self._subjects.schedule_alarms(state.id)}{entry.serial}",
                entry.due - AHEAD,
                mailbox,
                encode(Wake(entry.serial, entry.due)),
                message_id=f"schedule/{state.id}/{state.born}/{entry.serial}",
            )
        if isinstance(entry, OutEnd):
            word = Cancel(id=f"schedule/{entry.ending}", reason=entry.reason, terminate=entry.ending == "terminated")
            subject = self._subjects.run_words(state.workflow, state.version, entry.run_id)
            return self._transport.publish(subject, encode(word), message_id=f"{entry.run_id}/{word.id}")
        if isinstance(entry, OutRecall):
            recalled = self._transport.cancel_schedule(self._subjects.mail_stream, self._subjects.delayed_start(entry.run_id))
            return asyncio.ensure_future(recalled)
        notify = mailbox if entry.run_id in state.running else ""
        start = Start(entry.run_id, state.workflow, state.version, state.payload, state.payload_hash, entry.at, None, {}, "", notify)
        data = carried_start(start, state.id)
        subject = self._subjects.run_start(state.workflow, state.version, entry.run_id)
        message_id = f"{entry.run_id}/start/{entry.decision}"
        if entry.at - self._clock.now() < AT_ONCE:
            return self._transport.publish(subject, data, message_id=message_id)
        return self._transport.schedule(self._subjects.delayed_start(entry.run_id), entry.at, subject, data, message_id=message_id)

    async def _ended(self, state: ScheduleState) -> list[str]:
        """Those of the runs that go on, as far as the schedule was told, that have ended: nothing may hang on a message alone."""
        return [run_id for run_id in state.running if await self._has_ended(state, run_id)]

    async def _has_ended(self, state: ScheduleState, run_id: str) -> bool:
        # The mailbox first: what leaves it in between is in the store by then.
        if await self._waiting_start(state.workflow, state.version, run_id) is not None:
            return False
        stored = await self._runs.read(run_id)
        return stored is None or is_final(stored.state)
