"""What the engine needs of whoever seals."""

from typing import Protocol

__all__ = ["Codec"]


class Codec(Protocol):
    """Seals bytes and opens them: authenticated encryption with associated data, under keys that have ids.

    `seal` and `open` stand on the hot path and do no I/O; where keys are fetched from elsewhere, `prepare` and `fetch` do that.
    """

    @property
    def active(self) -> str | None:
        """The id (at most 255 bytes of UTF-8) of the key that seals; None: nothing is sealed, what is sealed is opened."""

    def knows(self, key: str) -> bool:
        """Whether what is sealed with this key can be opened now."""

    def seal(self, plain: bytes, context: bytes, key: str) -> bytes:
        """Ciphertext that `open` opens with the same context only. `KeyMissing`."""

    def open(self, sealed: bytes, context: bytes, key: str) -> bytes:
        """The plain bytes. `KeyMissing`, or `Tampered` when this was not sealed so."""

    async def prepare(self) -> None:
        """Called once before anything is sealed or opened."""

    async def fetch(self, key: str) -> bool:
        """Something is sealed with a key that is not known: get it. False when there is none; then it is not asked for at once again."""
