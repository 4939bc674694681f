"""A run's whole journal: its sealed segments and what is still in the hot value."""

import msgspec

from aiki.journal import Entry, RunState, decode_entries
from aiki.kv import RunStore
from aiki.types.states import is_final

__all__ = ["decode_segment", "encode_segment", "expire", "keep", "load", "segments"]

encode_segment = msgspec.msgpack.Encoder().encode
decode_segment = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode


async def segments(store: RunStore, state: RunState) -> tuple[bytes, ...]:
    """The sealed segments as they are stored, oldest first; `LookupError` when one is missing."""
    return tuple([await store.segment(state.run_id, begin, end) for begin, end in _extents(state)])


async def keep(store: RunStore, state: RunState) -> None:
    """The segments of a run are to stay, though it had ended."""
    for begin, end in _extents(state):
        await store.seal(state.run_id, begin, end, await store.segment(state.run_id, begin, end))


async def expire(store: RunStore, state: RunState, revision: int, ttl: float) -> None:
    """The run has ended, as `revision` says, and its segments expire with it.

    So do those that its state does not name: their host died before it could commit that. Whoever takes the run up again at the same time
    has its segments kept, then commits. So it is read again afterwards.
    """
    if not state.sealed:
        return
    for begin, end in await store.extents(state.run_id):
        try:
            segment = await store.segment(state.run_id, begin, end)
        except LookupError:
            continue  # it has expired meanwhile
        await store.seal(state.run_id, begin, end, segment, ttl=ttl)
    stored = await store.read(state.run_id)
    if stored is not None and stored.revision != revision and not is_final(stored.state):
        await keep(store, state)


def _extents(state: RunState) -> list[tuple[int, int]]:
    return list(zip([0, *state.sealed], state.sealed, strict=False))


async def load(store: RunStore, state: RunState) -> list[Entry]:
    """All entries, oldest first."""
    entries: list[Entry] = []
    for begin, end in _extents(state):
        entries.extend(decode_entries(decode_segment(await store.segment(state.run_id, begin, end))))
    entries.extend(decode_entries(state.entries))
    return entries
