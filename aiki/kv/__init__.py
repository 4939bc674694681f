"""The stores: states of actors under compare-and-set."""

from aiki.kv.actor_store import OPERATION_HEADER, STATE_HEADER, ActorStore, StoredState
from aiki.kv.blob_store import BlobMark, BlobMeta, BlobStore
from aiki.kv.dead_store import DeadStore, KeptMessage
from aiki.kv.entity_store import EntityStore
from aiki.kv.gate_store import GateStore
from aiki.kv.line_store import LineStore
from aiki.kv.measure_store import Measured, MeasureStore
from aiki.kv.result_store import LARGEST, CachedResult, ResultStore
from aiki.kv.run_store import RunStore
from aiki.kv.schedule_store import ScheduleStore
from aiki.kv.secret_store import SecretStore

__all__ = [
    "LARGEST",
    "OPERATION_HEADER",
    "STATE_HEADER",
    "ActorStore",
    "BlobMark",
    "BlobMeta",
    "BlobStore",
    "CachedResult",
    "DeadStore",
    "EntityStore",
    "GateStore",
    "KeptMessage",
    "LineStore",
    "MeasureStore",
    "Measured",
    "ResultStore",
    "RunStore",
    "ScheduleStore",
    "SecretStore",
    "StoredState",
]
