"""A run's record as one document, to be kept in a file."""

from typing import Literal, Self

import msgspec

from aiki.types.errors import PayloadError

__all__ = ["RunHistory"]


class RunHistory(msgspec.Struct, frozen=True, kw_only=True):
    """All that replay works from. In JSON the state and the sealed segments of the journal are base64, as the store has them.

    It holds the run's inputs and results: whoever may not read those may not have it.
    """

    format: Literal[1] = 1
    run_id: str
    workflow: str
    version: str
    state: bytes
    segments: tuple[bytes, ...] = ()

    def to_json(self) -> bytes:
        """As a document, for `from_json` and `aiki replay`."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n"

    @classmethod
    def from_json(cls, document: bytes | str) -> Self:
        """The history that `to_json` or `aiki run history ID --export FILE` wrote. `PayloadError` when it is something else."""
        try:
            return msgspec.json.decode(document, type=cls)
        except (msgspec.DecodeError, UnicodeError) as error:
            raise PayloadError(f"this is no history as `aiki run history ID --export FILE` writes it: {error}", where="history") from error
