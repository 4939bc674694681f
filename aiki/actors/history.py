"""A run's whole journal: its sealed segments and what is still in the hot value."""

import msgspec

from aiki.journal import Entry, RunState, decode_entries
from aiki.kv import RunStore
from aiki.types.sealed import checked

__all__ = ["decode_segment", "encode_segment", "load"]

encode_segment = msgspec.msgpack.Encoder().encode
decode_segment = checked(msgspec.msgpack.Decoder(list[msgspec.Raw]).decode)


async def load(store: RunStore, state: RunState) -> list[Entry]:
    """All entries, oldest first."""
    entries: list[Entry] = []
    begin = 0
    for end in state.sealed:
        entries.extend(decode_entries(decode_segment(await store.segment(state.run_id, begin, end))))
        begin = end
    entries.extend(decode_entries(state.entries))
    return entries
