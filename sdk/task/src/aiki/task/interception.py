"""The seam through which tests stand between the engine and the bodies of tasks and steps."""

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from aiki.task.context import TaskContext
    from aiki.task.definition import Task

__all__ = ["INTERCEPTOR", "Interceptor"]


class Interceptor(Protocol):
    """Called in place of a body, which it may run (`proceed`); from JSON to JSON, once per attempt."""

    async def task(
        self, task: "Task[Any, Any, ..., Any]", payload: bytes, context: "TaskContext", proceed: Callable[[], Awaitable[bytes]]
    ) -> bytes:
        """An attempt of a task."""

    async def step(self, name: str, run_id: str, proceed: Callable[[], Awaitable[bytes]]) -> bytes:
        """An attempt of a step that workflow code gave as a function."""


INTERCEPTOR: ContextVar[Interceptor | None] = ContextVar("aiki_interceptor", default=None)
"""Of the worker in whose context this is read."""
