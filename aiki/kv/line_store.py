"""The line store: who is under way of a workflow's runs, and who waits, in the bucket of the gates; changed only by compare-and-set.

A key is `line.<workflow>.<key>`, the last two as tokens: one token more than a gate's.
"""

from aiki.kv.actor_store import ActorStore
from aiki.transport.port import Transport
from aiki.types.subjects import Subjects

__all__ = ["LineStore"]


class LineStore(ActorStore):
    """The lines of one region."""

    def __init__(self, transport: Transport, subjects: Subjects) -> None:
        super().__init__(transport, subjects.gates_stream, subjects.gates_prefix)

    async def keys(self) -> list[str]:
        found = await self._transport.subjects(self._stream, self._prefix + "line.*.*")
        return [subject.removeprefix(self._prefix) for subject in found]
