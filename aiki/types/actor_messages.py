"""What entity actors and those who call them send each other, as it stands on the wire (see `aiki.types.messages` for the rules).

A call's id names it for good: whoever sends it again, for whatever reason, sends the same id, and the actor applies it once.
"""

import msgspec

from aiki.types.failure import ErrorInfo
from aiki.types.sealed import checked

__all__ = [
    "ABSENT",
    "ALARM",
    "RESUME",
    "WORKING",
    "Answer",
    "Call",
    "Path",
    "Probe",
    "decode_answer",
    "decode_call",
    "decode_request",
    "encode",
]

RESUME = "$resume"
"""The handler's name in the call that ends a hold or a stop."""
ALARM = "$alarm"
"""The handler's name in the call by which a reminder fires: its payload is the reminder's serial, in decimal."""
WORKING, ABSENT = b"working", b"absent"
"""A host's answers to a request besides an `Answer`: it is being seen to, by the host named after a space; not here, use the mailbox."""

Path = tuple[str, ...]
"""Keys of actors, each of which waits for the next."""


class _Wire(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    pass


class Call(_Wire, frozen=True, tag="call"):
    """A message to an actor. `payload` is JSON; `sent_at` is when its sender sent it first, by the sender's clock."""

    id: str
    actor: str
    """The actor's key, `<type token>.<id token>`."""
    handler: str
    payload: bytes
    sent_at: float
    ask: bool = False
    again: bool = False
    """An earlier copy may have been applied."""
    keep: bool = False
    """Something durable stands behind it, so it may come again much later: its id is remembered for longer."""
    reply: str = ""
    """The core subject for the answer, when the call came by the mailbox."""
    paths: tuple[Path, ...] = ()
    """Who waits for this call, transitively; each path ends with the sender."""
    forwarded: bool = False
    """By a host that holds the durable message: whoever gets it so does not forward it again."""


class Probe(_Wire, frozen=True, tag="probe"):
    """News of a call that waits at `actor`: by now these wait for it too; with no paths: nobody does any more."""

    id: str
    actor: str
    paths: tuple[Path, ...]


class Answer(_Wire, frozen=True):
    """To the call with this id: `value` (JSON) when `error` is None. `host` is the subject of the host that has the actor now.

    `working`: there is no answer yet, but the call has arrived.
    """

    id: str
    value: bytes = b""
    error: ErrorInfo | None = None
    host: str = ""
    chain: Path = ()
    """Of a deadlock."""
    working: bool = False
    failed: bool = False
    """The handler raised the error, rather than that the call was refused."""


_encoder = msgspec.msgpack.Encoder()
encode = _encoder.encode
decode_call = checked(msgspec.msgpack.Decoder(Call).decode)
decode_request = checked(msgspec.msgpack.Decoder(Call | Probe).decode)
decode_answer = checked(msgspec.msgpack.Decoder(Answer).decode)
