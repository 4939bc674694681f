"""Which identity steps have beyond their name and input: those that do something again, and those that undo it."""

import contextvars
from typing import NamedTuple

from aiki.schema import content_hash

__all__ = ["SCOPE", "Scope"]


class Scope(NamedTuple):
    """`text` becomes part of the address of each step that is issued in it, so that records of other scopes do not answer for it.

    `is_undo`: the input has no part in the address. An undo that goes on in a later attempt of the workflow finds its records again,
    whatever its code makes of the time or the attempt.
    """

    text: str
    is_undo: bool = False

    def address(self, payload: bytes) -> str:
        """What identifies a step beside its name."""
        return self.text if self.is_undo else f"{content_hash(payload)}-{self.text}"

    def key(self, key: str) -> str:
        """An idempotency key, as it is in this scope."""
        return f"{key}-{self.text}"


SCOPE: "contextvars.ContextVar[Scope | None]" = contextvars.ContextVar("scope", default=None)
"""The scope of what runs in the present asyncio task."""
