"""The stored side of one run: its revision, its commits, and its journal's sealed segments."""

from collections.abc import Callable, Sequence

import msgspec

from aiki.actors import history
from aiki.actors.keeping import Keeping
from aiki.journal import Entry, RunState, decode_state, encode_state
from aiki.kv import RunStore, StoredState
from aiki.types.errors import Conflict
from aiki.types.failure import ErrorInfo
from aiki.types.states import is_final

__all__ = ["StoredRun"]

SEAL_ABOVE = 32 * 1024
"""Bytes of journal in the hot value above which what is committed already is sealed into a segment."""


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

    async def read(self) -> StoredState | None:
        """The newest state; None when there is none (any more)."""
        stored = await self._store.read(self.run_id)
        self.current = True
        return stored

    def take(self, stored: StoredState | None, state: RunState) -> None:
        """Go on from this state: the stored one, or a new one when there is none."""
        self.revision = 0 if stored is None else stored.revision
        self._committed = len(state.entries)

    async def journal(self, state: RunState) -> list[Entry]:
        """The whole journal of a state."""
        return await history.load(self._store, state)

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
        ttl = self._keeping.end(state)
        value = encode_state(state)
        if len(value) > SEAL_ABOVE and self._committed and _size(state.entries[: self._committed]) > SEAL_ABOVE // 2:
            await self._seal(state)
            value = encode_state(state)
        self.revision = await self._store.commit(self.run_id, value, self.revision, state=state.status, operation=operation, ttl=ttl)
        self.current = True
        self._committed = len(state.entries)
        if ttl is not None:
            await history.expire(self._store, state, self.revision, ttl)

    async def hold(self, error: Exception) -> None:
        """Mark the run as stalled, whoever wrote it last."""
        stored = await self._store.read(self.run_id)
        if stored is None or is_final(stored.state):
            return
        state = decode_state(stored.value)
        state.status = "stalled"
        state.held = ErrorInfo.of(error)
        operation = self._next_operation()
        await self._store.commit(self.run_id, encode_state(state), stored.revision, state="stalled", operation=operation)

    async def _seal(self, state: RunState) -> None:
        """Move the entries that are committed already into a segment. If we die before the next commit, nobody refers to it."""
        begin = state.sealed[-1] if state.sealed else 0
        end = begin + self._committed
        await self._store.seal(self.run_id, begin, end, history.encode_segment(state.entries[: self._committed]))
        state.entries = state.entries[self._committed :]
        state.sealed = [*state.sealed, end]
        self._committed = 0

    async def keep_segments(self, state: RunState) -> None:
        """The run goes on after all: its segments do not expire with it."""
        await history.keep(self._store, state)

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
