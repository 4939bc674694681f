"""The payload of a schedule: sealed by itself, since the timer service starts runs with it and need not have the key."""

import secrets
from hashlib import blake2b

import msgspec

from aiki.schema import payload_hash
from aiki.sealing.sealer import Sealer
from aiki.types.errors import Tampered
from aiki.types.messages import Start, decode_start, encode
from aiki.types.names import to_token
from aiki.types.sealed import Sealed, carry, is_sealed, key_of, parse

__all__ = ["SealedInput", "carried_start", "opened_start"]

SALT = 16


class SealedInput:
    """Seals and opens the payloads of schedules. `sealer` None: there is no codec."""

    def __init__(self, sealer: Sealer | None) -> None:
        self._sealer = sealer

    def seal(self, payload: bytes, schedule: str, workflow: str, version: str) -> bytes:
        """As it is to be stored."""
        if self._sealer is None or self._sealer.codec.active is None:
            return payload
        return self._sealer.seal(secrets.token_bytes(SALT) + payload, place(schedule, workflow, version))

    def open(self, payload: bytes, schedule: str, workflow: str, version: str) -> bytes:
        """The JSON; still sealed when its key is not known."""
        opened = payload if self._sealer is None else self._sealer.open_if_known(payload, place(schedule, workflow, version))
        return opened if opened is payload else opened[SALT:]


def place(schedule: str, workflow: str, version: str) -> str:
    """The context of a schedule's payload."""
    return f"schedule/{to_token(schedule)}/{to_token(workflow)}/{to_token(version)}"


def carried_start(start: Start, schedule: str) -> bytes:
    """A start with a schedule's payload, as its service sends it."""
    if not is_sealed(start.input):
        return encode(start)
    public = msgspec.structs.replace(start, input=b"", input_hash=b"", locked=key_of(start.input))
    return carry(encode(public), place(schedule, start.workflow, start.version), start.input)


def opened_start(sealer: Sealer, public: bytes, context: str, inner: bytes) -> bytes | None:
    """Such a start with its payload in it; None when the payload's key is not known."""
    start, parts = decode_start(public), parse(inner)
    if not isinstance(parts, Sealed) or not context.startswith("schedule/") or context != place_of(context, start):
        raise Tampered(f"the start of run {start.run_id} carries what is no payload of a schedule for it", context=context)
    if not sealer.codec.knows(parts.key):
        return None
    plain = sealer.open(parts, context)
    salt = blake2b(start.run_id.encode(), key=plain[:SALT], digest_size=SALT).digest()
    payload = plain[SALT:]
    return encode(msgspec.structs.replace(start, input=payload, input_hash=payload_hash(payload), salt=salt, locked=""))


def place_of(context: str, start: Start) -> str:
    """The place that this start can have its payload from, with the schedule that the context names."""
    return f"schedule/{context.split('/')[1]}/{to_token(start.workflow)}/{to_token(start.version)}"
