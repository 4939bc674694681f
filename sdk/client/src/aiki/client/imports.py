"""Runs brought back from an archive, for a look."""

import itertools
import secrets
from typing import TYPE_CHECKING

import msgspec

from aiki.actors.history import decode_segment
from aiki.client.history import RunHistory
from aiki.journal import Archival, RunState, decode_entries, decode_state, encode_state
from aiki.types.errors import Conflict, ImportRefused
from aiki.types.identifiers import is_run_id
from aiki.types.states import is_final

if TYPE_CHECKING:
    from aiki.client.client import Client

__all__ = ["KEPT", "import_history", "read_history"]

KEPT = 86_400.0
"""Seconds for which a copy is kept, unless said otherwise."""

SLACK = 60.0
"""Seconds by which the journal's segments outlive the state."""


def read_history(history: RunHistory) -> RunState:
    """The state in a history, all of which can be read. `ImportRefused` when not."""
    try:
        state = decode_state(history.state)
        decode_entries(state.entries)
        sealed = sum(len(decode_entries(decode_segment(segment))) for segment in history.segments)
    except (msgspec.DecodeError, ValueError) as error:
        raise _refused(history, f"its state or journal cannot be read ({error})") from error
    if state.run_id != history.run_id or not is_run_id(state.run_id):
        raise _refused(history, f"its state is that of run {state.run_id!r}")
    if len(history.segments) != len(state.sealed) or sealed != (state.sealed[-1] - state.base if state.sealed else 0):
        raise _refused(history, "a part of its journal is missing")
    return state


async def import_history(client: "Client", history: RunHistory, kept: float) -> None:
    """Write a copy of a run that has ended, which expires after `kept` seconds. Raises `ImportRefused`."""
    state = read_history(history)
    if not is_final(state.status):
        raise _refused(history, f"the run has not ended there ({state.status}): only what has ended is brought back")
    stored = await client.store.read(state.run_id)
    if stored is not None and not decode_state(stored.value).imported:
        raise _refused(history, f"the run itself is still there ({stored.state})")
    if stored is None and await client.waiting_start(state.workflow, state.version, state.run_id) is not None:
        raise _refused(history, "a run with this id (of the same idempotency key) waits for a worker")
    # It is to be seen, and to have no say: nobody is told of its end once more.
    state.notify, state.reply, state.watchers, state.outbox, state.alarms, state.pending = "", "", [], [], [], []
    state.archival = Archival(imported_at=await client.now())
    state.operation = f"import/{secrets.token_hex(8)}"
    extents = itertools.pairwise([state.base, *state.sealed])
    for (begin, end), segment in zip(extents, history.segments, strict=True):
        await client.store.seal(state.run_id, begin, end, segment, ttl=kept + SLACK)
    revision = 0 if stored is None else stored.revision
    try:
        await client.store.commit(state.run_id, encode_state(state), revision, state=state.status, operation=state.operation, ttl=kept)
    except Conflict:
        raise _refused(history, "a run with this id was started at the same time") from None


def _refused(history: RunHistory, reason: str) -> ImportRefused:
    return ImportRefused(f"run {history.run_id} cannot be imported: {reason}", run_id=history.run_id, reason=reason)
