"""A gate's state as stored: what must outlive its keeper. What waits and what is at work is not in it: that, the server knows.

MessagePack arrays: fields may be appended with a default, never moved or removed. Instants are seconds since the epoch.
"""

import msgspec

__all__ = ["GateState", "LimitState", "Move", "decode_gate", "encode_gate"]


class Move(msgspec.Struct, frozen=True, array_like=True):
    """A dispatch that has been let in: owed is its way from the waiting room to the work queue."""

    place: str
    id: str
    """`<run id>.<serial>`."""


class LimitState(msgspec.Struct, frozen=True, array_like=True):
    """A limit, for those who look. `per` is None for one of concurrency."""

    count: int
    per: float | None
    keyed: bool


class GateState(msgspec.Struct, array_like=True, kw_only=True, omit_defaults=True):
    """One gate: of task `task` in queue `queue`."""

    queue: str
    task: str
    keeper: str = ""
    """The worker that has the baton."""
    baton: int = 0
    """Which baton that is: its sequence in the stream."""
    owed: list[Move] = []
    taken: dict[str, list[tuple[float, int]]] = {}
    """Of the rates: how many were let in, and when that counts no more; by `<number of the limit>~<token of the key>`."""
    limits: tuple[LimitState, ...] = ()
    admitted: int = 0
    """How many it has let in, ever."""
    let_in_at: float = 0.0
    """When it last decided to let somebody in."""


encode_gate = msgspec.msgpack.Encoder().encode
decode_gate = msgspec.msgpack.Decoder(GateState).decode
