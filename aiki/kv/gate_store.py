"""The gate store: states of gates in a JetStream KV bucket, changed only by compare-and-set.

A key is `<queue>.<task>`, both as tokens.
"""

from aiki.kv.actor_store import ActorStore
from aiki.transport.port import Transport
from aiki.types.subjects import Subjects

__all__ = ["GateStore"]


class GateStore(ActorStore):
    """The gates of one region."""

    def __init__(self, transport: Transport, subjects: Subjects) -> None:
        super().__init__(transport, subjects.gates_stream, subjects.gates_prefix)

    async def keys(self) -> list[str]:
        return [subject.removeprefix(self._prefix) for subject in await self._transport.subjects(self._stream, self._prefix + "*.*")]
