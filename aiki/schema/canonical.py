"""The canonical form of a payload, from which content addresses are made: equal values give equal bytes in every process and release."""

import hashlib

import msgspec

__all__ = ["content_hash", "payload_hash", "salted"]

_sorted = msgspec.json.Encoder(order="sorted")
_SCALAR_STARTS = frozenset(b'"-0123456789tfn')


def _canonical(data: bytes) -> bytes:
    # A JSON scalar has one spelling here already; only objects (their key order) and what may hold them need another pass.
    if data[:1] and data[0] in _SCALAR_STARTS:
        return data
    return _sorted.encode(msgspec.json.decode(data))


def content_hash(data: bytes) -> str:
    """16 hexadecimal characters that identify a JSON payload within one run (64 bits, keyed by nothing)."""
    return hashlib.blake2b(_canonical(data), digest_size=8).hexdigest()


def payload_hash(data: bytes) -> bytes:
    """32 bytes (SHA-256) that identify a JSON payload across runs."""
    return hashlib.sha256(_canonical(data)).digest()


def salted(content: str, salt: bytes) -> str:
    """A content hash from which nobody who lacks the salt can tell the payload, not even by trying; without a salt, as it is."""
    return hashlib.blake2b(content.encode(), key=salt, digest_size=8).hexdigest() if salt else content
