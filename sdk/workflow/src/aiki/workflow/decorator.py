"""The `@workflow` decorator."""

import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal, Protocol, TypeVar, overload

from aiki.client import Event
from aiki.journal import CLEANUP
from aiki.types.admission import Concurrency
from aiki.types.duration import Duration
from aiki.types.retention import Kept, Retention
from aiki.types.retry import Retry
from aiki.types.run_limit import OnLimit
from aiki.workflow.context import Context
from aiki.workflow.definition import Workflow

__all__ = ["WorkflowDecorator", "workflow"]

Input = TypeVar("Input")
Output = TypeVar("Output")


class WorkflowDecorator(Protocol):
    """What `workflow(...)` returns: turns an `async def` into a `Workflow`."""

    @overload
    def __call__(self, function: Callable[[Context], Awaitable[Output]], /) -> Workflow[None, Output]: ...
    @overload
    def __call__(self, function: Callable[[Context, Input], Awaitable[Output]], /) -> Workflow[Input, Output]: ...


def workflow(
    *,
    name: str | None = None,
    version: str = "1.0.0",
    retry: Retry | None = None,
    timeout: Duration | None = None,
    deadline: Duration | None = None,
    cleanup: Duration = CLEANUP,
    events: Sequence[Event[Any]] | None = None,
    retention: Kept | Retention = "worker",
    archive: bool | None = None,
    on_nondeterminism: Literal["fail", "hold"] = "fail",
    concurrency: int | Concurrency | None = None,
    on_limit: OnLimit = "queue",
) -> WorkflowDecorator:
    """Declare a workflow: `@workflow(name="order", version="1.0.0")` above an `async def order(ctx: Context, order: Order) -> Receipt`.

    `name` defaults to the function's. A run stays with the version that it began with. `retry`: begin again when the code raises; completed
    steps are kept, failed ones run again. `timeout` bounds one attempt of the workflow, `deadline` all of them together (timedeltas or
    seconds): a run that takes longer ends as `timed_out`. `cleanup`: how long its code may go on after the run was cancelled. `events`:
    those that it waits for; when they are declared, others are refused with `UnknownEvent`. `retention`: how long a run is kept after its
    end: a duration, None (for ever), a `Retention`, which tells outcomes apart, or as its worker says. `archive`: whether no run expires
    before an archiver has written it to a file (None: as the worker says). `on_nondeterminism`: a run that the code does not fit fails, or
    ("hold") is left as it is, shows as `stalled` and is tried again every half minute until a worker's code fits.

    `concurrency`: how many of its runs may be under way at a time, in all or (`Concurrency(1, key=…)`) of each key; what is started beyond
    that waits for its turn (`on_limit="queue"`), is refused with `LimitReached` ("reject"), is the run that is under way already
    ("return_existing"), or takes its place ("cancel_previous"). Raises `DefinitionError` when the declaration cannot work.
    """
    scope = sys._getframe(1).f_locals

    def decorate(function: Callable[..., Any]) -> Any:
        return Workflow(
            function,
            name=name,
            version=version,
            retry=retry,
            timeout=timeout,
            deadline=deadline,
            cleanup=cleanup,
            events=events,
            retention=retention,
            archive=archive,
            on_nondeterminism=on_nondeterminism,
            concurrency=concurrency,
            on_limit=on_limit,
            scope=scope,
        )

    return decorate
