"""A run's whole journal: its sealed segments and what is still in the hot value."""

import itertools
from typing import NamedTuple

import msgspec

from aiki.journal import Entry, NewJournal, RunState, begun_again, decode_entries, decode_state, encode_entry, peek_state, reset
from aiki.kv import RunStore
from aiki.types.messages import Again, Reset
from aiki.types.sealed import checked
from aiki.types.states import is_final

__all__ = ["Recorded", "decode_segment", "encode_segment", "expire", "keep", "load", "read", "segments", "take_up", "write"]

SEGMENT = 32 * 1024
"""Bytes after which a segment is full, of a journal that is written as a whole."""

encode_segment = msgspec.msgpack.Encoder().encode
decode_segment = checked(msgspec.msgpack.Decoder(list[msgspec.Raw]).decode)


async def write(store: RunStore, state: RunState, journal: NewJournal) -> None:
    """Give a state another journal, which begins at its `base`. What is new of it stays in the state: only what is committed is sealed."""
    begin, size = state.base, 0
    chunk: list[msgspec.Raw] = []
    for entry in journal.before:
        chunk.append(encode_entry(entry))
        size += memoryview(chunk[-1]).nbytes
        if size > SEGMENT:
            end = begin + len(chunk)
            await store.seal(state.run_id, begin, end, encode_segment(chunk))
            state.sealed.append(end)
            begin, chunk, size = end, [], 0
    state.entries = [*chunk, *map(encode_entry, journal.after)]


async def take_up(store: RunStore, state: RunState, word: Again | Reset, now: float) -> list[Entry] | None:
    """Let a run that has ended go on, as is asked: its whole journal, or None when it is not to. The state is changed in place."""
    journal = await load(store, state)
    if isinstance(word, Again):
        whole = begun_again(state, journal, now, word.id)
        if whole is not None:
            await keep(store, state)
        return whole
    made = None if state.imported else reset(state, journal, word, now)
    if made is None:
        return None
    await write(store, state, made)
    return [*made.before, *made.after]


class Recorded(NamedTuple):
    """A run as it is stored: its state, the revision of that, and its whole journal."""

    state: RunState
    revision: int
    journal: list[Entry]


async def read(store: RunStore, run_id: str, *, peek: bool = False) -> Recorded | None:
    """The run as it is now; None when there is none (any more). `peek`: without its key the public part, and no journal."""
    seen = 0
    while (stored := await store.read(run_id)) is not None:
        state = peek_state(stored.value) if peek else decode_state(stored.value)
        try:
            return Recorded(state, stored.revision, [] if state.locked else await load(store, state))
        except LookupError:
            if stored.revision == seen:
                raise
        seen = stored.revision  # a segment may be gone because the run has gone on
    return None


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
    return list(itertools.pairwise([state.base, *state.sealed]))


async def load(store: RunStore, state: RunState, *, newest: int | None = None) -> list[Entry]:
    """All entries, oldest first. `LookupError` when a segment is gone: a newer state does without it.

    `newest`: no more segments than that are read, those that hold the newest entries.
    """
    entries: list[Entry] = []
    for begin, end in _extents(state)[-newest if newest else None :]:
        entries.extend(decode_entries(decode_segment(await store.segment(state.run_id, begin, end))))
    entries.extend(decode_entries(state.entries))
    return entries
