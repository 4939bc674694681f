"""A gathering: calls that become one run, whose payload is that of the last of them. Its state as stored (see `aiki.lines.line`)."""

import msgspec

__all__ = ["Gathering", "decode_gathering", "encode_gathering"]


class Gathering(msgspec.Struct, array_like=True, kw_only=True, omit_defaults=True):
    """Of one workflow and key. `closed`: the run has been given its payload, and further calls belong to another one."""

    workflow: str
    version: str
    run_id: str
    payload: bytes
    first_at: float
    due: float
    calls: int = 1
    call: str = ""
    """The id of the last one: its sender may not have heard that it counts."""
    closed: bool = False
    earlier: dict[str, bytes] = {}
    """The payloads of runs before this one that may not have taken them yet, by id."""


encode_gathering = msgspec.msgpack.Encoder().encode
decode_gathering = msgspec.msgpack.Decoder(Gathering).decode
