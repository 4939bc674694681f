"""The engine's view of a type of entity actors."""

from typing import Any, Literal, Protocol

from aiki.entities.scope import Scope

__all__ = ["EntityDefinition", "OnError"]

OnError = Literal["restart", "hold", "stop"]
"""What becomes of an actor whose handler has failed; its state is as it was in any case."""


class EntityDefinition(Protocol):
    """A type of actors. An instance is a live copy of one actor's state; JSON is how it is stored."""

    @property
    def name(self) -> str: ...
    @property
    def ttl(self) -> float | None:
        """Seconds after its last change at which the state expires (None: never)."""

    @property
    def on_error(self) -> OnError: ...

    def fresh(self) -> bytes:
        """The state of an actor that nobody has called yet."""

    def revive(self, data: bytes) -> Any:
        """A live copy of a state."""

    def freeze(self, instance: Any) -> bytes:
        """The state of a live copy. `PayloadError` when a field does not fit its type."""

    def read_only(self, handler: str) -> bool | None:
        """Whether that handler changes nothing; None when there is no such handler."""

    def argument(self, handler: str, payload: bytes) -> Any:
        """The validated payload of a call. `PayloadError`."""

    async def call(self, instance: Any, handler: str, argument: Any, scope: Scope) -> bytes:
        """Run the handler; its validated result, as JSON."""
