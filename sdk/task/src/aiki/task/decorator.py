"""The `@task` decorator."""

import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal, Protocol, TypeVar, overload

from aiki.task.context import TaskContext
from aiki.task.definition import Task
from aiki.types.admission import Concurrency, Key, Rate
from aiki.types.cache import Cache
from aiki.types.duration import Duration
from aiki.types.limits import MOST_DEATHS
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
    deadline: Duration | None = None,
    start_timeout: Duration | None = None,
    heartbeat: Duration | None = None,
    on_cancel: Literal["tell", "raise"] = "tell",
    max_deaths: int = MOST_DEATHS,
    on_poison: Literal["hold", "fail"] = "hold",
    cache: Cache | None = None,
    concurrency: int | None = None,
    limits: Sequence[Concurrency | Rate] = (),
    fair: Key | None = None,
    priority: int | Callable[[Any], int] | None = None,
) -> TaskDecorator:
    """Declare a task: `@task(name="charge", retry=Retry.fixed(max_attempts=3, delay=1))` above an `async def` or `def`.

    The function takes one payload (or none) and, if it wants, a `TaskContext` as second parameter; its annotations say what is validated.
    `name` defaults to the function's. `queue`: whose workers run it ("default"). `local`: run it in the process that holds the run.

    Limits are timedeltas or seconds. `timeout` bounds one attempt, `deadline` all of them together, from the call on, waiting included.
    `start_timeout`: no worker has begun it so long after it was sent (each retry counts anew; a local step is not sent). `heartbeat`: an
    attempt fails that calls `TaskContext.heartbeat` less often. `on_cancel`: what happens to a body whose run or step is cancelled: it is
    told (`TaskContext.cancelled`), or `asyncio.CancelledError` is raised in it as well. `cache`: its results may be used again, by other
    runs too.

    Over the whole fleet: `concurrency`, how many are at work at a time; `limits`, the same and rates, of all or of each key, for example
    `[Concurrency(1, key=lambda order: order.customer), Rate(100, per=1)]`; `fair`, between whose keys turns are taken, whoever has how many
    waiting; `priority` from 0 (the default) to 9 (first), a number or a function of the payload.

    A call of which `max_deaths` workers are proven to have died is given up: it is held in the dead-letter list until somebody retries it
    there, or (`on_poison="fail"`) its step fails with `TaskPoisoned`. Raises `DefinitionError` when the declaration cannot work.
    """
    scope = sys._getframe(1).f_locals

    def decorate(function: Callable[..., Any]) -> Any:
        return Task(
            function,
            name=name,
            retry=retry,
            timeout=timeout,
            queue=queue,
            local=local,
            deadline=deadline,
            start_timeout=start_timeout,
            heartbeat=heartbeat,
            on_cancel=on_cancel,
            max_deaths=max_deaths,
            on_poison=on_poison,
            cache=cache,
            concurrency=concurrency,
            limits=limits,
            fair=fair,
            priority=priority,
            scope=scope,
        )

    return decorate
