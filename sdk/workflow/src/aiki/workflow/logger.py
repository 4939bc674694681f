"""A logger for workflow code."""

import logging
from collections.abc import MutableMapping
from typing import Any

from aiki.journal import RunMachine

__all__ = ["RunLogger"]

_log = logging.getLogger("aiki.workflow")


class RunLogger(logging.LoggerAdapter[logging.Logger]):
    """Adds the run's id and workflow to each record (`extra`), and says nothing while the run is replayed or abandoned."""

    def __init__(self, machine: RunMachine) -> None:
        super().__init__(_log, {"run_id": machine.state.run_id, "workflow": machine.state.workflow})
        self._machine = machine

    def isEnabledFor(self, level: int) -> bool:
        """Nothing is, while replaying."""
        return not self._machine.silent and super().isEnabledFor(level)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Add the run's id and workflow."""
        kwargs["extra"] = {**(self.extra or {}), **kwargs.get("extra", {})}
        return msg, kwargs
