"""The stores: states of actors under compare-and-set."""

from aiki.kv.actor_store import OPERATION_HEADER, STATE_HEADER, ActorStore, StoredState
from aiki.kv.entity_store import EntityStore
from aiki.kv.gate_store import GateStore
from aiki.kv.run_store import RunStore
from aiki.kv.schedule_store import ScheduleStore
from aiki.kv.secret_store import SecretStore

__all__ = [
    "OPERATION_HEADER",
    "STATE_HEADER",
    "ActorStore",
    "EntityStore",
    "GateStore",
    "RunStore",
    "ScheduleStore",
    "SecretStore",
    "StoredState",
]
