"""The event loop of client and workers: uvloop where it is installed."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from importlib import import_module
from typing import Any, TypeVar

__all__ = ["run"]

T = TypeVar("T")

TERMINATED = 143


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a new loop; when it was cancelled, the process ends as one does on SIGTERM."""
    try:
        factory: Callable[[], asyncio.AbstractEventLoop] | None = import_module("uvloop").new_event_loop
    except ImportError:
        factory = None
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(main)
    except asyncio.CancelledError:
        sys.exit(TERMINATED)
