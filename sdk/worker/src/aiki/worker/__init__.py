"""Workers: run workflows and tasks in your own process."""

from aiki.worker.registry import Registry
from aiki.worker.worker import Worker

__all__ = ["Registry", "Worker"]
