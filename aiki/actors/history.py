"""A run's whole journal: its sealed segments and what is still in the hot value."""

from typing import NamedTuple

import msgspec

from aiki.journal import Entry, NewJournal, RunState, begun_again, decode_entries, decode_state, encode_entry, reset
from aiki.kv import RunStore
from aiki.types.messages import Again, Reset

__all__ = ["Recorded", "decode_segment", "encode_segment", "keep_segments", "load", "read", "take_up", "write"]

SEGMENT = 32 * 1024
"""Bytes after which a segment is full, of a journal that is written as a whole."""

encode_segment = msgspec.msgpack.Encoder().encode
decode_segment = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode


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
            await keep_segments(store, state, None)
        return whole
    made = reset(state, journal, word, now)
    if made is None:
        return None
    await write(store, state, made)
    return [*made.before, *made.after]


async def keep_segments(store: RunStore, state: RunState, ttl: float | None) -> None:
    """Let the sealed segments expire after so many seconds, or (None) not at all."""
    begin = state.base
    for end in state.sealed:
        await store.seal(state.run_id, begin, end, await store.segment(state.run_id, begin, end), ttl=ttl)
        begin = end


class Recorded(NamedTuple):
    """A run as it is stored: its state, the revision of that, and its whole journal."""

    state: RunState
    revision: int
    journal: list[Entry]


async def read(store: RunStore, run_id: str) -> Recorded | None:
    """The run as it is now; None when there is none (any more)."""
    seen = 0
    while (stored := await store.read(run_id)) is not None:
        state = decode_state(stored.value)
        try:
            return Recorded(state, stored.revision, await load(store, state))
        except LookupError:
            if stored.revision == seen:
                raise
        seen = stored.revision  # a segment may be gone because the run has gone on
    return None


async def load(store: RunStore, state: RunState) -> list[Entry]:
    """All entries, oldest first. `LookupError` when a segment is gone: a newer state does without it."""
    entries: list[Entry] = []
    begin = state.base
    for end in state.sealed:
        entries.extend(decode_entries(decode_segment(await store.segment(state.run_id, begin, end))))
        begin = end
    entries.extend(decode_entries(state.entries))
    return entries
