"""The schedule store: states of schedules in a JetStream KV bucket, changed only by compare-and-set.

A key is the schedule's id as a token.
"""

from aiki.kv.actor_store import ActorStore
from aiki.transport.port import Transport
from aiki.types.subjects import Subjects

__all__ = ["ScheduleStore"]


class ScheduleStore(ActorStore):
    """The schedules of one region."""

    def __init__(self, transport: Transport, subjects: Subjects) -> None:
        super().__init__(transport, subjects.schedules_stream, subjects.schedules_prefix)
