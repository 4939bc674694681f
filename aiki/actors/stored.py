"""The stored side of one run: its revision, its commits, and its journal's sealed segments."""

from collections.abc import Callable, Sequence

import msgspec

from aiki.actors import history
from aiki.journal import Entry, NewJournal, RunState, decode_state, encode_state, forked, place_of
from aiki.kv import RunStore, StoredState
from aiki.types.errors import Conflict, RunNotFound, StepNotFound
from aiki.types.failure import ErrorInfo
from aiki.types.messages import Again, Fork, Reset
from aiki.types.states import is_final

__all__ = ["StoredRun"]

SEAL_ABOVE = 32 * 1024
"""Bytes of journal in the hot value above which what is committed already is sealed into a segment."""


class StoredRun:
    """What one activation knows of its run in the store. `retention`: seconds for which a run is kept after its end; None: for ever.

    `host`: the subject that commits name, for whoever has a message for the run; `worker`: who that is, for people. `next_operation` names
    each commit.
    """

    def __init__(
        self, store: RunStore, run_id: str, host: str, worker: str, retention: float | None, next_operation: Callable[[], str]
    ) -> None:
        self.run_id = run_id
        self.revision = 0
        """The newest revision that we know; 0 when the run has not been written."""
        self.current = False
        """No other host can have written since: we have read or committed in this turn."""
        self._store = store
        self._host = host
        self._worker = worker
        self._retention = retention
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
        """The whole journal of a state."""
        return await history.load(self._store, state)

    async def rewrite(self, state: RunState, journal: NewJournal) -> None:
        """Give the state another journal."""
        await history.write(self._store, state, journal)

    async def taken_up(self, state: RunState, word: Again | Reset, now: float) -> list[Entry] | None:
        """The whole journal of a run that has ended and goes on by this request; None when it is not to."""
        return await history.take_up(self._store, state, word, now)

    async def forked(self, state: RunState, fork: Fork, now: float) -> list[Entry]:
        """The whole journal of a new run that begins with another one's. `RunNotFound`, `StepNotFound`."""
        stored = await self._store.read(fork.run_id)
        if stored is None:
            raise RunNotFound(f"run {fork.run_id}, from which this one was forked, is gone", run_id=fork.run_id)
        source = decode_state(stored.value)
        journal = await history.load(self._store, source)
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
        value = encode_state(state)
        if len(value) > SEAL_ABOVE and self._committed and _size(state.entries[: self._committed]) > SEAL_ABOVE // 2:
            await self._seal(state)
            value = encode_state(state)
        ttl = self._retention if is_final(state.status) else None
        self.revision = await self._store.commit(self.run_id, value, self.revision, state=state.status, operation=operation, ttl=ttl)
        self.current = True
        self._committed = len(state.entries)
        if ttl is not None and state.sealed:
            await self.keep_segments(state, ttl)

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

    async def keep_segments(self, state: RunState, ttl: float | None) -> None:
        """The run has ended, and its segments expire with it; or it goes on after all, and they do not (None)."""
        await history.keep_segments(self._store, state, ttl)


def _size(entries: Sequence[msgspec.Raw]) -> int:
    return sum(memoryview(entry).nbytes for entry in entries)
