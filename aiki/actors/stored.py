"""The stored side of one run: its revision, its commits, and its journal's sealed segments."""

import asyncio
import itertools
from collections.abc import Callable, Sequence

import msgspec

from aiki.actors import history
from aiki.actors.keeping import Keeping
from aiki.journal import Entry, NewJournal, OutDiscard, RunState, decode_state, encode_state, forked, place_of
from aiki.kv import RunStore, StoredState
from aiki.types.errors import Conflict, RunNotFound, StepNotFound
from aiki.types.failure import ErrorInfo
from aiki.types.messages import Again, Fork, Reset
from aiki.types.states import is_final

__all__ = ["StoredRun"]

SEAL_ABOVE = 32 * 1024
"""Bytes of a state above which the half of it that is committed journal is sealed into a segment."""

MANY, MANY_BYTES = 24, 3 * 1024
"""Committed entries, and their bytes, that are sealed also below that: each commit writes again what is not sealed."""

MERGED = 16
"""Segments of `MANY` entries or little more that become one: each commit names all segments."""

LARGEST = 512 * 1024
"""Bytes of a merged segment."""


class StoredRun:
    """What one activation knows of its run in the store. `keeping`: for how long it is kept after its end.

    `host`: the subject that commits name, for whoever has a message for the run; `worker`: who that is, for people. `next_operation` names
    each commit.
    """

    def __init__(self, store: RunStore, run_id: str, host: str, worker: str, keeping: Keeping, next_operation: Callable[[], str]) -> None:
        self.run_id = run_id
        self.revision = 0
        """The newest revision that we know; 0 when the run has not been written."""
        self.current = False
        """No other host can have written since: we have read or committed in this turn."""
        self._store = store
        self._host = host
        self._worker = worker
        self._keeping = keeping
        self._next_operation = next_operation
        self._committed = 0
        self._base = 0

    async def read(self) -> StoredState | None:
        """The newest state; None when there is none (any more)."""
        stored = await self._store.read(self.run_id)
        self.current = True
        return stored

    def take(self, stored: StoredState | None, state: RunState) -> None:
        """Go on from this state: the stored one, or a new one when there is none."""
        self.revision = 0 if stored is None else stored.revision
        self._committed, self._base = len(state.entries), state.base

    async def journal(self, state: RunState) -> list[Entry]:
        """The whole journal of a state; `Conflict` when it is not the newest any more, and its segments are gone."""
        try:
            return await history.load(self._store, state)
        except LookupError:
            await self.verify()
            raise

    async def rewrite(self, state: RunState, journal: NewJournal) -> None:
        """Give the state another journal."""
        await history.write(self._store, state, journal)

    async def taken_up(self, state: RunState, word: Again | Reset, now: float) -> list[Entry] | None:
        """The whole journal of a run that has ended and goes on by this request; None when it is not to."""
        return await history.take_up(self._store, state, word, now)

    async def forked(self, state: RunState, fork: Fork, now: float) -> list[Entry]:
        """The whole journal of a new run that begins with another one's. `RunNotFound`, `StepNotFound`."""
        found = await history.read(self._store, fork.run_id)
        if found is None:
            raise RunNotFound(f"run {fork.run_id}, from which this one was forked, is gone", run_id=fork.run_id)
        source, journal = found.state, found.journal
        place = place_of(journal, fork.address, fork.ordinal) if fork.address else None
        if fork.address and place is None:
            raise StepNotFound(f"run {fork.run_id} has no step {fork.address!r} (any more)", run_id=fork.run_id, step=fork.address)
        made = forked(state, source, journal, place, now)
        await history.write(self._store, state, made)
        return [*made.before, *made.after]

    async def verify(self) -> None:
        """`Conflict` unless the state that we hold is the newest.

        What changes nothing is proved by no compare-and-set. A message that means nothing to an old state may mean something to the newest
        one, and a step that waits in an old state may be recorded in the newest one: neither may be settled or begun on a stale view.
        """
        stored = await self._store.read(self.run_id)
        if (0 if stored is None else stored.revision) != self.revision:
            raise Conflict(f"run {self.run_id} was changed by another host", subject=self.run_id)
        self.current = True

    async def commit(self, state: RunState) -> None:
        """Write the state over the revision that we know; `Conflict` when somebody else went ahead."""
        state.host = self._host
        state.worker = self._worker
        state.held = None
        state.operation = operation = self._next_operation()
        if state.base != self._base:  # another journal: nothing of it is committed
            self._committed, self._base = 0, state.base
        ttl = self._keeping.end(state)
        value = encode_state(state)
        if self._worth_sealing(state, len(value)):
            await self._seal(state)
            value = encode_state(state)
        self.revision = await self._store.commit(self.run_id, value, self.revision, state=state.status, operation=operation, ttl=ttl)
        self.current = True
        self._committed = len(state.entries)
        if ttl is not None:
            await history.expire(self._store, state, self.revision, ttl)

    def _worth_sealing(self, state: RunState, size: int) -> bool:
        committed = self._committed
        if not committed or (committed < MANY and size <= SEAL_ABOVE):
            return False
        sealable = _size(state.entries[:committed])
        return sealable > SEAL_ABOVE // 2 or (committed >= MANY and sealable > MANY_BYTES)

    async def hold(self, error: Exception, new: RunState | None = None) -> RunState | None:
        """Mark the run as stalled, whoever wrote it last; answers its state, None when there is nothing to hold.

        `new`: what it is when nobody has written it yet. One that is held for that very reason is not written again.
        """
        stored = await self._store.read(self.run_id)
        if stored is not None and is_final(stored.state):
            return None
        state = new if stored is None else decode_state(stored.value)
        if state is None:
            return None
        why = ErrorInfo.of(error)
        if state.status != "stalled" or state.held is None or (state.held.code, state.held.message) != (why.code, why.message):
            state.status, state.held, state.operation = "stalled", why, self._next_operation()
            revision = 0 if stored is None else stored.revision
            await self._store.commit(self.run_id, encode_state(state), revision, state="stalled", operation=state.operation)
        return state

    async def _seal(self, state: RunState) -> None:
        """Move the entries that are committed already into a segment. If we die before the next commit, nobody refers to it."""
        begin = state.sealed[-1] if state.sealed else state.base
        end = begin + self._committed
        await self._store.seal(self.run_id, begin, end, history.encode_segment(state.entries[: self._committed]))
        state.entries = state.entries[self._committed :]
        state.sealed = [*state.sealed, end]
        self._committed = 0
        await self._merge(state)

    async def _merge(self, state: RunState) -> None:
        """Make one of the newest segments, when they are small and many. Those that it replaces are deleted after the commit."""
        bounds = [state.base, *state.sealed]
        small = 0
        while small < len(state.sealed) and MANY <= bounds[-1 - small] - bounds[-2 - small] < MANY * MERGED:
            small += 1
        if small < MERGED:
            return
        bounds = bounds[-1 - small :]
        pairs = list(itertools.pairwise(bounds))
        parts = await asyncio.gather(*(self._store.segment(self.run_id, begin, end) for begin, end in pairs))
        if sum(map(len, parts)) > LARGEST:
            return
        merged = [entry for part in parts for entry in history.decode_segment(part)]
        await self._store.seal(self.run_id, bounds[0], bounds[-1], history.encode_segment(merged))
        state.sealed = [*state.sealed[:-small], bounds[-1]]
        for begin, end in pairs:
            state.serial += 1
            state.outbox.append(OutDiscard(state.serial, begin, end))

    async def end_again(self, state: RunState) -> None:
        """A message has reached a run that has ended: its host may have died before all was done that keeps it, or lets it go.

        Raises `Conflict`.
        """
        if state.archival is not None:
            return
        if (ttl := self._keeping.end(state)) is not None:
            await history.expire(self._store, state, self.revision, ttl)
        elif state.awaits_archive:
            # It may have been ended by somebody who knew of no archive, and then it would expire.
            value, operation = encode_state(state), state.operation
            self.revision = await self._store.commit(self.run_id, value, self.revision, state=state.status, operation=operation)
            await history.keep(self._store, state)


def _size(entries: Sequence[msgspec.Raw]) -> int:
    return sum(memoryview(entry).nbytes for entry in entries)
