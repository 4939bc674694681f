"""The entity store: states of entity actors in a JetStream KV bucket, changed only by compare-and-set.

A key is two tokens, `<type>.<id>`: what one type has can be listed.
"""

from aiki.kv.actor_store import ActorStore
from aiki.transport.port import Transport
from aiki.types.names import to_token
from aiki.types.subjects import Subjects

__all__ = ["EntityStore"]


class EntityStore(ActorStore):
    """The entity actors of one region."""

    def __init__(self, transport: Transport, subjects: Subjects) -> None:
        super().__init__(transport, subjects.actors_stream, subjects.actors_prefix)

    async def keys(self, type: str | None = None) -> list[str]:
        """The keys of all actors (of a type), sorted."""
        pattern = f"{self._prefix}{'*' if type is None else to_token(type)}.*"
        return [subject.removeprefix(self._prefix) for subject in await self._transport.subjects(self._stream, pattern)]
