"""The `@task` decorator."""

import sys
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar, overload

from aiki.task.context import TaskContext
from aiki.task.definition import Task
from aiki.types.duration import Duration
from aiki.types.retry import Retry

__all__ = ["TaskDecorator", "task"]

Input = TypeVar("Input")
Output = TypeVar("Output")


class TaskDecorator(Protocol):
    """What `task(...)` returns: turns a function into a `Task`."""

    @overload
    def __call__(self, function: Callable[[], Awaitable[Output]], /) -> Task[None, Output, [], Awaitable[Output]]: ...
    @overload
    def __call__(self, function: Callable[[Input], Awaitable[Output]], /) -> Task[Input, Output, [Input], Awaitable[Output]]: ...
    @overload
    def __call__(
        self, function: Callable[[Input, TaskContext], Awaitable[Output]], /
    ) -> Task[Input, Output, [Input, TaskContext], Awaitable[Output]]: ...
    @overload
    def __call__(self, function: Callable[[], Output], /) -> Task[None, Output, [], Output]: ...
    @overload
    def __call__(self, function: Callable[[Input], Output], /) -> Task[Input, Output, [Input], Output]: ...
    @overload
    def __call__(self, function: Callable[[Input, TaskContext], Output], /) -> Task[Input, Output, [Input, TaskContext], Output]: ...


def task(
    *,
    name: str | None = None,
    retry: Retry | None = None,
    timeout: Duration | None = None,
    queue: str | None = None,
    local: bool = False,
) -> TaskDecorator:
    """Declare a task: `@task(name="charge", retry=Retry.fixed(max_attempts=3, delay=1))` above an `async def` or `def`.

    The function takes one payload (or none) and, if it wants, a `TaskContext` as second parameter; its annotations say what is validated.
    `name` defaults to the function's. `timeout` (a timedelta or seconds) bounds one attempt. `queue`: whose workers run it ("default").
    `local`: run it in the process that holds the run. Raises `DefinitionError` when the declaration cannot work.
    """
    scope = sys._getframe(1).f_locals

    def decorate(function: Callable[..., Any]) -> Any:
        return Task(function, name=name, retry=retry, timeout=timeout, queue=queue, local=local, scope=scope)

    return decorate
