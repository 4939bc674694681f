"""Where a codec's keys come from."""

from typing import Protocol

from aiki.types.errors import DefinitionError

__all__ = ["KEY_BYTES", "KeyProvider", "checked_id", "checked_key"]


KEY_BYTES = 32
"""AES-256."""
MAX_ID = 255


class KeyProvider(Protocol):
    """Your own key management: a KMS, a vault, a file. It is asked when a client connects, and for a key that was not met before."""

    async def active(self) -> str | None:
        """The id of the key that seals from now on; None: nothing is sealed."""

    async def key(self, id: str) -> bytes | None:
        """The 32 bytes of a key; None when there is none of that id."""


def checked_id(id: object) -> str:
    """`DefinitionError` unless a key may be called so."""
    if not isinstance(id, str) or not id or len(id.encode()) > MAX_ID:
        raise DefinitionError(f"a key's id must be a string of 1 to {MAX_ID} bytes, not {id!r}", what="codec")
    return id


def checked_key(id: str, key: object) -> bytes:
    """`DefinitionError`, which never shows the key, unless it is one."""
    if not isinstance(key, bytes) or len(key) != KEY_BYTES:
        what = f"{len(key)} bytes" if isinstance(key, bytes) else f"a {type(key).__name__}"
        raise DefinitionError(f"key {id!r} must be {KEY_BYTES} random bytes, not {what}: `aiki codec new-key` makes one", what="codec")
    return key
