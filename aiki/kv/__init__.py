"""The run store: run states under compare-and-set."""

from aiki.kv.run_store import OPERATION_HEADER, STATE_HEADER, RunStore, StoredRun

__all__ = ["OPERATION_HEADER", "STATE_HEADER", "RunStore", "StoredRun"]
