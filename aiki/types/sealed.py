"""The form of what is sealed: how it is told from what is not, which key it needs, and what anybody may read of it.

Two layouts begin with a byte that begins neither MessagePack nor JSON:

    sealed    0xC1 1 | length of the key's id (1 byte), id | length of the public part (4 bytes), public part | what the codec made
    carried   0xC1 2 | length of the public part (4 bytes), public part | length of the context (2 bytes), context | something sealed

`carried` is written by those without the key: a sealed value goes on in it as it is, with another public part beside it. Its context says
what the inner value was sealed for; whoever opens it checks that this is what the place calls for.
"""

import contextlib
import functools
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import msgspec

from aiki.types.errors import KeyMissing, Tampered

__all__ = ["Carried", "Sealed", "carry", "checked", "head", "is_sealed", "key_of", "missing", "parse", "public_part", "wrap"]

Decoded = TypeVar("Decoded")

_MARK = 0xC1
_SEALED, _CARRIED = b"\xc1\x01", b"\xc1\x02"


class Sealed(NamedTuple):
    """A sealed value, taken apart. `head` is everything before the `body`, which the codec made."""

    key: str
    head: bytes
    public: bytes
    body: bytes


class Carried(NamedTuple):
    """A sealed value that somebody without its key has passed on."""

    public: bytes
    context: str
    inner: bytes


def is_sealed(data: bytes) -> bool:
    """Whether nobody can read this without a key."""
    return len(data) > 0 and data[0] == _MARK


def head(key: str, public: bytes) -> bytes:
    """What stands before the codec's bytes."""
    return _beginning(key) + len(public).to_bytes(4, "big") + public


@functools.lru_cache(64)
def _beginning(key: str) -> bytes:
    id = key.encode()
    return b"%b%c%b" % (_SEALED, len(id), id)


def wrap(key: str, public: bytes, body: bytes) -> bytes:
    """A sealed value."""
    return head(key, public) + body


def carry(public: bytes, context: str, inner: bytes) -> bytes:
    """A sealed value, passed on with another public part."""
    place = context.encode()
    return b"%b%b%b%b%b%b" % (_CARRIED, len(public).to_bytes(4, "big"), public, len(place).to_bytes(2, "big"), place, inner)


def parse(data: bytes) -> Sealed | Carried:
    """Take apart what `is_sealed`. `Tampered` when it cannot be."""
    try:
        if data[:2] == _SEALED:
            at = 3 + data[2]
            end = at + 4 + int.from_bytes(data[at : at + 4], "big")
            if len(data) < end:
                raise ValueError("it is cut off")
            return Sealed(data[3:at].decode(), data[:end], data[at + 4 : end], data[end:])
        if data[:2] == _CARRIED:
            end = 6 + int.from_bytes(data[2:6], "big")
            begin = end + 2 + int.from_bytes(data[end : end + 2], "big")
            if len(data) <= begin:
                raise ValueError("it is cut off")
            return Carried(data[6:end], data[end + 2 : begin].decode(), data[begin:])
    except (ValueError, IndexError) as error:
        raise Tampered(f"a sealed value cannot be taken apart: {error}") from error
    raise Tampered("a sealed value has a form that this release does not know")


def key_of(data: bytes) -> str:
    """The id of the key that opens a sealed value."""
    parts = parse(data)
    while isinstance(parts, Carried):
        parts = parse(parts.inner)
    return parts.key


def public_part(data: bytes) -> bytes:
    """What anybody may read of a sealed value; of one that is not sealed, all."""
    return parse(data).public if is_sealed(data) else data


def checked(decode: Callable[[bytes], Decoded]) -> Callable[[bytes], Decoded]:
    """A decoder that raises `KeyMissing`, which names the key, for what is still sealed."""

    def decode_open(data: bytes) -> Decoded:
        try:
            return decode(data)
        except msgspec.DecodeError:
            if is_sealed(data):
                with contextlib.suppress(Tampered):  # it merely begins like something sealed
                    raise missing(data) from None
            raise

    return decode_open


def missing(data: bytes) -> KeyMissing:
    """The error of whoever needs to read this and cannot."""
    key = key_of(data)
    return KeyMissing(f"it is sealed with key {key!r}, which is not known here", key=key)
