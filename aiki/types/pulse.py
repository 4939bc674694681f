"""The signs of life of a step's body: what the body sees of them, and what the engine does with them, meet here."""

from typing import Protocol

__all__ = ["Pulse"]


class Pulse(Protocol):
    """Given to each attempt of a body. All methods may be called from any thread; `attempt` says who calls."""

    @property
    def details(self) -> bytes | None:
        """What the last beat with details said, in this attempt or an earlier one (JSON); None: nothing was said."""

    def beat(self, attempt: int, details: bytes | None) -> None:
        """The body of that attempt is alive. Without details, those before stand. Nothing happens when that attempt is over."""

    def is_over(self, attempt: int) -> bool:
        """Whether nobody waits for that attempt any more: its step was cancelled, or its time ran out."""
