"""Claims: what travels and is recorded in the place of a large payload, whose bytes lie in the blob store.

A claim is a small JSON object that names the payload's bytes by their hash, so equal bytes give equal claims in every process. A user's own
payload that begins like one is never taken for one: it goes into the blob store itself, whatever its size.
"""

import hashlib
import os
from typing import NamedTuple

from aiki.types.errors import DefinitionError

__all__ = ["HASHED", "INLINE", "LARGEST", "Claim", "claim_of", "claimed", "is_claim", "largest_payload", "needs_claim"]

INLINE = 64 * 1024
"""Bytes of JSON up to which a payload travels as it is."""

HASHED = 256 * 1024
"""Bytes up to which a step's address is made from the payload itself, as it was when payloads of that size were recorded inline; above,
from the claim, since canonical JSON of something large takes its time."""

LARGEST = 256 * 1024 * 1024
"""The limit of one payload, in bytes of JSON, unless `$AIKI_MAX_PAYLOAD` says otherwise."""

_BEGIN, _MIDDLE, _END = b'{"$aiki.claim":', b'{"sha256":"', b"}}"
_HEAD = _BEGIN + _MIDDLE
_SIZE = b'","size":'
_DIGITS = 64


class Claim(NamedTuple):
    """A payload by its hash (SHA-256, hexadecimal) and its size in bytes."""

    sha256: str
    size: int

    def encode(self) -> bytes:
        """As it stands in the payload's place."""
        return b"%b%b%b%d%b" % (_HEAD, self.sha256.encode(), _SIZE, self.size, _END)


def largest_payload() -> int:
    """The limit of one payload that may lie in the blob store, in bytes of JSON."""
    text = os.environ.get("AIKI_MAX_PAYLOAD", "")
    if not text:
        return LARGEST
    if not text.isdecimal() or int(text) < 1:
        raise DefinitionError(f"$AIKI_MAX_PAYLOAD must be a number of bytes, not {text!r}", where="AIKI_MAX_PAYLOAD")
    return int(text)


def is_claim(data: bytes) -> bool:
    """Whether something stands in its place; of what has been checked in, nothing else begins like this."""
    return data.startswith(_BEGIN)


def needs_claim(data: bytes) -> bool:
    """Whether this payload goes into the blob store."""
    return len(data) > INLINE or data.startswith(_BEGIN)


def claimed(data: bytes) -> Claim:
    """The claim of these bytes. Hashing takes about a millisecond a megabyte, and lets other threads run."""
    return Claim(hashlib.sha256(data).hexdigest(), len(data))


def claim_of(data: bytes) -> Claim | None:
    """The claim that these bytes are; None for a payload that travels as it is."""
    if not data.startswith(_HEAD):
        return None
    begin = len(_HEAD)
    end = begin + _DIGITS
    return Claim(data[begin:end].decode("ascii", "replace"), int(data[end + len(_SIZE) : -len(_END)]))
