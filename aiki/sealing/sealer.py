"""Seals values for the places where they stand."""

from aiki.codec import Codec
from aiki.types.sealed import Sealed, head, is_sealed, parse

__all__ = ["Sealer"]


class Sealer:
    """A codec, and the form of what it makes. A context names a place: what was sealed for one opens in no other."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec

    def seal(self, data: bytes, context: str, public: bytes = b"") -> bytes:
        """Sealed with the active key, `public` beside it; as it is without an active key, when it is sealed already, or empty."""
        key = self.codec.active
        if key is None or not data or is_sealed(data):
            return data
        return self.seal_with(key, data, context.encode(), public)

    def seal_with(self, key: str, data: bytes, context: bytes, public: bytes) -> bytes:
        """The same, of what is not sealed, with that key."""
        begin = head(key, public)
        return begin + self.codec.seal(data, begin + context, key)

    def open(self, sealed: Sealed, context: str) -> bytes:
        """`KeyMissing`, `Tampered`."""
        return self.codec.open(sealed.body, sealed.head + context.encode(), sealed.key)

    def open_if_known(self, data: bytes, context: str) -> bytes:
        """Opened, when it is sealed with a key that is known; else as it is."""
        if not is_sealed(data):
            return data
        parts = parse(data)
        return self.open(parts, context) if isinstance(parts, Sealed) and self.codec.knows(parts.key) else data
