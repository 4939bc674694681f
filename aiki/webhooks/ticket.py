"""What a webhook's URL names: one wait of one run, up to an instant.

MessagePack, as an array: fields may be appended with a default, never moved or removed.
"""

import msgspec

__all__ = ["Ticket", "decode_ticket", "encode_ticket", "event_of"]


def event_of(hook: str, ordinal: int) -> str:
    """The name of the event that an answer is, and its id too: there is one answer."""
    return f"webhook/{hook}/{ordinal}"


class Ticket(msgspec.Struct, frozen=True, array_like=True):
    """The `ordinal`-th hook of that name (from 1 on) in a run. `expires_at`: seconds since the epoch."""

    region: str
    run_id: str
    workflow: str
    version: str
    hook: str
    ordinal: int
    expires_at: float

    @property
    def event(self) -> str:
        """See `event_of`."""
        return event_of(self.hook, self.ordinal)


encode_ticket = msgspec.msgpack.Encoder().encode
decode_ticket = msgspec.msgpack.Decoder(Ticket).decode
