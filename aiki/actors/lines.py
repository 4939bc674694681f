"""Lines of runs, as hosts and clients move them on: read, decide (`aiki.lines`), compare-and-set, tell who has moved in.

Nobody keeps a line. Whoever has a run that enters or leaves does that itself, before it settles what stands behind the run's turn: if it
dies in between, whoever gets that message does it again, and finds done what was done. Who has moved in is told by a `Resume`; the state
names those that may not know, so that a next visitor tells them too.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Callable

from aiki.kv import LineStore, RunStore
from aiki.lines import MOST_WAITING, LineState, Place, decode_line, encode_line, enter, leave, older
from aiki.transport.port import Transport
from aiki.transport.surely import surely
from aiki.types.errors import Conflict, LimitReached
from aiki.types.messages import Cancel, Resume, encode
from aiki.types.run_limit import RunLimit
from aiki.types.states import is_final
from aiki.types.subjects import Subjects

__all__ = ["LineFull", "Lines", "limit_reached"]

RESERVED_FOR = 90.0
"""Seconds for which a place is kept for a start that is not there yet. Clients try to store one for less."""

LOOKED_UP = 32
"""Runs inside that are looked up at a time, to see whether they are under way at all."""

EMPTY_FOR = 60.0
"""Seconds after which a line that nobody is in is forgotten."""


class LineFull(Exception):
    """No more can wait in the line: the start is to come again."""


class Lines:
    """The lines of one region. `now`: the instant by the server's clock."""

    def __init__(self, transport: Transport, subjects: Subjects, now: Callable[[], float]) -> None:
        self._transport = transport
        self._subjects = subjects
        self._now = now
        self._store = LineStore(transport, subjects)
        self._runs = RunStore(transport, subjects)
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    async def read(self, workflow: str, key: str) -> LineState | None:
        """A line; None when nobody is there. `key` is a token, here and below."""
        stored = await self._store.read(self._subjects.line_key(workflow, key))
        return None if stored is None else decode_line(stored.value)

    async def enter(
        self, workflow: str, key: str, place: Place, limit: RunLimit, *, waits: bool, forced: bool = False, verify: bool = False
    ) -> LineState:
        """Let a run take its place, or (`waits`) wait for one; answers the line, whose `inside` tells. `forced`: there must be a place.

        `verify`: if there is none, see whether those inside are under way at all. `LineFull` when no more can wait.
        """

        def decide(line: LineState) -> None:
            if not enter(line, place, limit.count, waits=waits, forced=forced) and len(line.waiting) > MOST_WAITING:
                raise LineFull(f"{MOST_WAITING} runs of workflow {workflow!r} wait already")

        return await self._change(workflow, key, decide, verify=place.run_id if verify else None)

    async def leave(self, workflow: str, key: str, run_id: str, stay: int | None = None) -> None:
        """A run is not under way any more; who is next moves in and is told."""
        await self._change(workflow, key, lambda line: leave(line, run_id, stay))

    async def cancel_older(self, line: LineState, run_id: str) -> None:
        """Ask those that stand in that run's way to end. They take that once, however often they are asked."""
        for other in older(line, run_id):
            word = Cancel(id=f"{run_id}/previous", reason=f"run {run_id} has taken its place")
            mailbox = self._subjects.run_words(line.workflow, other.version, other.run_id)
            await self._send(mailbox, encode(word), f"{run_id}/previous/{other.run_id}")

    async def exists(self, workflow: str, version: str, run_id: str) -> bool:
        """Whether a run waits for a worker, or is stored. The mailbox first: what leaves it is in the store by then."""
        if await self._is_waiting(workflow, version, run_id):
            return True
        return (await surely(lambda: self._runs.read(run_id))).answer is not None

    async def _change(self, workflow: str, key: str, decide: Callable[[LineState], None], *, verify: str | None = None) -> LineState:
        """`decide` changes the state in place; called anew after each conflict."""
        name = self._subjects.line_key(workflow, key)
        lock, users = self._locks.get(name, (asyncio.Lock(), 0))
        self._locks[name] = lock, users + 1
        try:
            async with lock:  # conflicts between the runs of one process are needless
                while True:
                    try:
                        return await self._try(workflow, name, decide, verify)
                    except Conflict:
                        continue
        finally:
            lock, users = self._locks.pop(name)
            if users > 1:
                self._locks[name] = lock, users - 1

    async def _try(self, workflow: str, name: str, decide: Callable[[LineState], None], verify: str | None) -> LineState:
        stored = (await surely(lambda: self._store.read(name))).answer
        before = b"" if stored is None else stored.value
        revision = 0 if stored is None else stored.revision
        line = LineState(workflow=workflow) if stored is None else decode_line(stored.value)
        decide(line)
        if verify is not None and not line.has_inside(verify):
            for place in line.inside[:LOOKED_UP]:
                if await self._is_gone(workflow, place):
                    leave(line, place.run_id, place.stay)
            decide(line)
        if line.empty and stored is None:
            return line
        if (after := encode_line(line)) != before:
            revision = await self._write(name, after, revision, line)
        if line.untold:
            await self._tell(name, line, revision)
        return line

    async def _write(self, name: str, value: bytes, revision: int, line: LineState) -> int:
        ttl = EMPTY_FOR if line.empty else None
        return await self._store.commit(name, value, revision, state="", operation=secrets.token_hex(8), ttl=ttl)

    async def _tell(self, name: str, line: LineState, revision: int) -> None:
        """Tell those who have moved in, and then write down that they know. Twice does no harm."""
        places = {place.run_id: place for place in line.inside}
        for run_id in line.untold:
            place = places[run_id]
            mailbox = f"{self._subjects.run_mail(line.workflow, place.version)}{run_id}"
            await self._send(mailbox, encode(Resume("there is a place for it")), f"{run_id}/place/{secrets.token_hex(8)}")
        line.untold = []
        with contextlib.suppress(Conflict):  # whoever went ahead tells them again
            await self._write(name, encode_line(line), revision, line)

    async def _is_gone(self, workflow: str, place: Place) -> bool:
        """Whether a run that has a place has ended, or never was."""
        waiting = await self._is_waiting(workflow, place.version, place.run_id)
        stored = (await surely(lambda: self._runs.read(place.run_id))).answer
        if stored is not None:
            return is_final(stored.state)
        return not waiting and not (place.reserved and self._now() < place.since + RESERVED_FOR)

    async def _is_waiting(self, workflow: str, version: str, run_id: str) -> bool:
        subject = self._subjects.run_start(workflow, version, run_id)
        return (await surely(lambda: self._transport.last(self._subjects.mail_stream, subject))).answer is not None

    async def _send(self, mailbox: str, data: bytes, message_id: str) -> None:
        await surely(lambda: self._transport.publish(mailbox, data, message_id=message_id))


def limit_reached(line: LineState, count: int) -> LimitReached:
    """What a start is told for which there is no place."""
    run_ids = tuple(place.run_id for place in line.inside[:3])
    few = f"run {run_ids[0]} is" if count == 1 else f"{count} runs are"
    return LimitReached(
        f"{few} under way already: workflow {line.workflow!r} allows {count} at a time",
        workflow=line.workflow,
        count=count,
        run_ids=run_ids,
    )
