"""Schedules as clients see and change them: by compare-and-set, then a word to the schedule's mailbox.

The word is also sent in advance, as a message that comes later: should the client die after it has changed the state, the timer service
looks after what is owed all the same.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from aiki.client.schedule_views import ScheduleView, schedule_view
from aiki.kv import ScheduleStore
from aiki.schedules import Schedule, ScheduleState, count, decode_schedule, encode_schedule, following, machine
from aiki.schema import Schema, payload_hash
from aiki.sealing import SealedInput
from aiki.transport.surely import surely
from aiki.types.errors import (
    BackfillTooLarge,
    Conflict,
    DefinitionError,
    InvalidSchedule,
    ScheduleConflict,
    ScheduleNotFound,
)
from aiki.types.identifiers import RunId, ScheduleId
from aiki.types.messages import Resume, encode
from aiki.types.names import check_name, to_token
from aiki.types.sealed import is_sealed, missing

if TYPE_CHECKING:
    from aiki.client.client import Client, OnConflict
    from aiki.client.handle import RunHandle

__all__ = ["BACKFILL_LIMIT", "ScheduleHandle", "Schedules"]

Input = TypeVar("Input")
Answer = TypeVar("Answer")

LOOK_AFTER = 30.0
"""Seconds after which the timer service looks at a schedule whose change it was not told of."""
BACKFILL_LIMIT = 1000
"""Runs that a backfill starts without being forced."""


class Schedules:
    """The schedules of a client's region, by id."""

    def __init__(self, client: "Client") -> None:
        self.client = client
        self.store = ScheduleStore(client.transport, client.subjects)
        self._inputs = SealedInput(client.sealer)

    def _sealed(self, state: ScheduleState) -> bytes:
        """As it is stored. The hash of a payload would tell it to whoever guesses."""
        payload = self._inputs.seal(state.payload, state.id, state.workflow, state.version)
        hash = state.payload_hash if payload is state.payload and not is_sealed(payload) else b""
        return encode_schedule(msgspec.structs.replace(state, payload=payload, payload_hash=hash))

    def _opened(self, stored: bytes) -> ScheduleState:
        """With its payload, if its key is known."""
        state = decode_schedule(stored)
        if is_sealed(state.payload):
            state.payload = self._inputs.open(state.payload, state.id, state.workflow, state.version)
            if not is_sealed(state.payload):
                state.payload_hash = payload_hash(state.payload)
        return state

    async def create(
        self, id: str, schedule: Schedule, workflow: str, version: str, payload: bytes, *, on_conflict: "OnConflict" = "error"
    ) -> None:
        """Create a schedule, or find that it is there already."""
        if on_conflict not in ("error", "return_existing"):
            raise DefinitionError(f'on_conflict must be "error" or "return_existing", not {on_conflict!r}', what="on_conflict")
        if not isinstance(schedule, Schedule):
            raise InvalidSchedule(f"a schedule is made by Schedule.cron(…) or Schedule.every(…), not {schedule!r}", what="schedule")
        check_name(id, "schedule")
        now = await self.client.now()
        first = following(schedule, now)
        if first is None:
            raise InvalidSchedule(f"the schedule {schedule} never fires after now", what="schedule")
        state = ScheduleState(id, secrets.token_hex(8), schedule, workflow, version, payload, payload_hash(payload), now, planned=first)
        await self._announce(id)
        try:
            await self.store.commit(to_token(id), self._sealed(state), 0, state="schedule", operation=state.born)
        except Conflict:
            existing = await self.load(id)
            if is_sealed(existing.payload) and on_conflict == "error" and existing.born != state.born:
                raise missing(existing.payload) from None
            same = (existing.schedule, existing.workflow, existing.version, existing.payload_hash)
            if on_conflict == "error" and existing.born != state.born and same != (schedule, workflow, version, state.payload_hash):
                raise ScheduleConflict(
                    f"schedule {id!r} exists already and is another one: update it, choose another id, or take it as it is by "
                    'on_conflict="return_existing"',
                    schedule_id=id,
                    revision=existing.revision,
                ) from None
        await self.poke(id)

    async def load(self, id: str) -> ScheduleState:
        """A schedule's state; `ScheduleNotFound`."""
        stored = await self.store.read(to_token(check_name(id, "schedule")))
        if stored is None:
            raise ScheduleNotFound(f"there is no schedule {id!r} in region {self.client.region!r}", schedule_id=id)
        return self._opened(stored.value)

    async def change(self, id: str, command: Callable[[ScheduleState, float], Answer]) -> Answer:
        """Apply `command` to the state, as often as others come first; then tell the timer service."""
        key = to_token(check_name(id, "schedule"))
        await self._announce(id)
        while True:
            stored = await self.store.read(key)
            if stored is None:
                raise ScheduleNotFound(f"there is no schedule {id!r} in region {self.client.region!r}", schedule_id=id)
            state = self._opened(stored.value)
            before = encode_schedule(state)
            answer = command(state, await self.client.now())
            try:
                if encode_schedule(state) != before:
                    await self.store.commit(key, self._sealed(state), stored.revision, state="schedule", operation=secrets.token_hex(8))
            except Conflict:
                continue
            await self.poke(id)
            return answer

    async def delete(self, id: str) -> None:
        """Delete a schedule and its alarms. Runs that it has started go on."""
        state, now = await self.load(id), await self.client.now()
        await self.store.purge(to_token(id))
        transport, subjects = self.client.transport, self.client.subjects
        await transport.purge(subjects.mail_stream, subjects.schedule_alarms(id) + ">")
        for firing in state.recent:
            if firing.at > now and firing.run_id is not None:  # it was decided ahead of its instant
                await transport.cancel_schedule(subjects.mail_stream, subjects.delayed_start(firing.run_id))

    async def all(self) -> AsyncIterator[ScheduleView]:
        """All schedules, by id."""
        keys = await self.store.keys()
        for begin in range(0, len(keys), 64):
            for stored in await asyncio.gather(*(self.store.read(key) for key in keys[begin : begin + 64])):
                if stored is not None:
                    yield schedule_view(self._opened(stored.value), await self.client.now())

    async def poke(self, id: str) -> None:
        """Have the timer service look at a schedule."""
        mailbox = self.client.subjects.schedule_mail + to_token(id)
        await surely(lambda: self.client.transport.publish(mailbox, encode(Resume("changed"))))

    async def _announce(self, id: str) -> None:
        subjects = self.client.subjects
        at = await self.client.now() + LOOK_AFTER
        mailbox = subjects.schedule_mail + to_token(id)
        data = encode(Resume("announced"))
        await surely(lambda: self.client.transport.schedule(f"{subjects.schedule_alarms(id)}look", at, mailbox, data))


class ScheduleHandle:
    """One schedule, by id. Made by `workflow.schedule(client, …)` or `client.schedule(id)`. Methods raise `ScheduleNotFound`."""

    def __init__(self, client: "Client", id: str, payload: Schema[Any], where: str = "payload") -> None:
        self.id = ScheduleId(id)
        self._client = client
        self._schedules = Schedules(client)
        self._payload = payload
        self._where = where

    def __repr__(self) -> str:
        return f"<schedule {self.id!r}>"

    async def pause(self, reason: str = "") -> None:
        """No planned firing happens until `resume`. What is buffered or being backfilled goes on."""
        await self._schedules.change(self.id, lambda state, now: machine.pause(state, now, reason))

    async def resume(self) -> None:
        """Go on with the first firing after now. Those in between are counted as skipped."""
        await self._schedules.change(self.id, machine.resume)

    async def trigger(self) -> "RunHandle[Any]":
        """Start a run now, whatever the schedule says, also while it is paused or another run goes on."""
        nonce = secrets.token_hex(8)

        def start(state: ScheduleState, now: float) -> tuple[RunId, ScheduleState]:
            return machine.trigger(state, now, nonce), state

        run_id, state = await self._schedules.change(self.id, start)
        return self._client.run(run_id, state.workflow, state.version)

    async def backfill(self, since: datetime, until: datetime, *, force: bool = False) -> int:
        """Start the runs that were planned from `since` to `until`, both included; answers how many, if need be about.

        Each starts a run of its own, whatever became of the firing before, and beside each other. More than 1,000 raise
        `BackfillTooLarge`, with the count, unless `force`.
        """
        if since.tzinfo is None or until.tzinfo is None:
            raise InvalidSchedule("since and until must be datetimes with a time zone", what="since")
        begin, end = since.timestamp(), until.timestamp()
        if end < begin:
            raise InvalidSchedule("the backfill's end is before its start", what="until")
        number, exact = count((await self._schedules.load(self.id)).schedule, begin, end)
        if number > BACKFILL_LIMIT and not force:
            about = "" if exact else "about "
            raise BackfillTooLarge(
                f"the backfill of schedule {self.id!r} would start {about}{number:,} runs, more than "
                f"{BACKFILL_LIMIT:,}: force it (`--yes`) if that is meant",
                count=number,
                exact=exact,
                limit=BACKFILL_LIMIT,
            )
        nonce = secrets.token_hex(8)
        await self._schedules.change(self.id, lambda state, now: machine.backfill(state, begin, end, nonce))
        return number

    async def update(self, *, schedule: Schedule | None = None, payload: Any = msgspec.UNSET, revision: int | None = None) -> int:
        """Change the schedule, the payload, or both; answers the new revision.

        With `revision`, only if nobody has changed it since: else `ScheduleConflict`. A new schedule counts from now on.
        """
        if schedule is not None and following(schedule, await self._client.now()) is None:
            raise InvalidSchedule(f"the schedule {schedule} never fires after now", what="schedule")
        data = None if payload is msgspec.UNSET else self._payload.encode(payload, self._where)
        tried = False

        def change(state: ScheduleState, now: float) -> int:
            nonlocal tried
            done = schedule in (None, state.schedule) and data in (None, state.payload)
            if tried and done and revision is not None and state.revision == revision + 1:
                return state.revision  # the first try was stored, though its answer was lost and others have come since
            tried = True
            if revision is not None and state.revision != revision:
                raise ScheduleConflict(
                    f"schedule {self.id!r} is at revision {state.revision}, not {revision}: somebody else has changed it",
                    schedule_id=self.id,
                    revision=state.revision,
                )
            machine.update(state, now, schedule=schedule, payload=data, payload_hash=payload_hash(data) if data is not None else b"")
            return state.revision

        return await self._schedules.change(self.id, change)

    async def describe(self) -> ScheduleView:
        """All of it: settings, counts, the last ten firings, and the next ten."""
        return schedule_view(await self._schedules.load(self.id), await self._client.now())

    async def delete(self) -> None:
        """Delete the schedule. Runs that it has started go on."""
        await self._schedules.delete(self.id)
