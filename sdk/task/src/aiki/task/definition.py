"""A task: a function whose calls from a workflow are recorded."""

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Generic, Literal, ParamSpec, Protocol, TypeVar, overload

from aiki.schema import Schema, decoded, encoded, read_signature
from aiki.task.cache import TaskCache
from aiki.task.context import TaskContext
from aiki.task.interception import INTERCEPTOR
from aiki.task.thread import run_in_thread
from aiki.types.admission import NO_KEY, Admission, Concurrency, Key, Rate
from aiki.types.cache import Cache, CacheUse
from aiki.types.duration import Duration, seconds
from aiki.types.errors import DefinitionError
from aiki.types.identifiers import RunId
from aiki.types.limits import LEAST_LIMIT, MOST_DEATHS, NO_LIMITS, Limits, check_heartbeat
from aiki.types.names import check_name
from aiki.types.pulse import Pulse
from aiki.types.retry import Retry

__all__ = ["StepContext", "Task"]

Input = TypeVar("Input")
Output = TypeVar("Output")
Parameters = ParamSpec("Parameters")
Returned = TypeVar("Returned")


class StepContext(Protocol):
    """What a task needs of the workflow context that it is run in."""

    async def run_step(
        self,
        name: str,
        payload: bytes,
        *,
        body: Callable[[str, int, Pulse | None], Awaitable[bytes]] | None,
        key: str | None,
        queue: str | None,
        retry: Retry | None,
        timeout: float | None,
        limits: Limits = NO_LIMITS,
        cache: CacheUse | None = None,
        standing: str = "",
    ) -> bytes:
        """Record a step and answer its result as JSON. With a body it runs in the host: `body(idempotency key, attempt, pulse)`.

        `standing`: where its dispatch stands at the task's gate, if that has one.
        """


class Task(Generic[Input, Output, Parameters, Returned]):
    """Made by `@task`. Called directly it is the plain function; `run` makes the call durable."""

    def __init__(
        self,
        function: Callable[Parameters, Returned],
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
        scope: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = check_name(name if name is not None else getattr(function, "__name__", None), "task")
        if retry is not None and not isinstance(retry, Retry):
            raise DefinitionError(f"task {self.name!r}: retry must be a Retry, for example Retry.fixed(…), not {retry!r}", where="retry")
        self.function = function
        self.retry = retry if retry is not None else Retry.never()
        self.timeout = None if timeout is None else seconds(timeout, f"timeout of task {self.name!r}", least=LEAST_LIMIT)
        what = f"task {self.name!r}"
        self.limits = Limits.of(what, deadline=deadline, start_timeout=start_timeout, heartbeat=heartbeat)
        check_heartbeat(self.timeout, self.limits.heartbeat, what)
        if on_cancel not in ("tell", "raise"):
            raise DefinitionError(f'{what}: on_cancel must be "tell" or "raise", not {on_cancel!r}', where="on_cancel")
        self.on_cancel = on_cancel
        if type(max_deaths) is not int or max_deaths < 1:
            raise DefinitionError(f"{what}: max_deaths must be an integer of at least 1, not {max_deaths!r}", where="max_deaths")
        self.max_deaths = max_deaths
        if on_poison not in ("hold", "fail"):
            raise DefinitionError(f'{what}: on_poison must be "hold" or "fail", not {on_poison!r}', where="on_poison")
        self.on_poison = on_poison
        self.queue = None if queue is None else check_name(queue, "queue")
        self.local = local
        self.admission = Admission.of(what, concurrency=concurrency, limits=limits, fair=fair, priority=priority)
        if local and self.admission is not None:
            raise _runs_here(what)
        _check_context_is_second(function, what)
        self._signature = read_signature(function, what, skip=0, most=2, names=scope)
        self._input = f"input of {what}"
        self._result = f"result of {what}"
        self._cache: TaskCache[Input] = TaskCache(self.name, cache, self._signature.payload, self._input)
        self._is_async = inspect.iscoroutinefunction(function)
        self.__doc__ = function.__doc__
        self.__wrapped__ = function

    def __call__(self, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Returned:
        """The plain function: nothing is recorded."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<task {self.name!r}>"

    @property
    def heartbeat(self) -> float | None:
        """Seconds without `TaskContext.heartbeat` after which an attempt fails."""
        return self.limits.heartbeat

    @property
    def cache(self) -> TaskCache[Input]:
        """Its results that runs share: to invalidate them."""
        return self._cache

    @property
    def input_schema(self) -> Schema[Input]:
        """The payload's type."""
        return self._signature.payload

    @property
    def output_schema(self) -> Schema[Output]:
        """The result's type."""
        return self._signature.result

    @overload
    async def run(
        self: "Task[None, Output, Parameters, Returned]",
        ctx: StepContext,
        payload: None = None,
        *,
        idempotency_key: str | None = None,
        queue: str | None = None,
        retry: Retry | None = None,
        timeout: Duration | None = None,
        local: bool | None = None,
        deadline: Duration | None = None,
        start_timeout: Duration | None = None,
        heartbeat: Duration | None = None,
        cache: Cache | Literal[False] | None = None,
        priority: int | None = None,
    ) -> Output: ...

    @overload
    async def run(
        self,
        ctx: StepContext,
        payload: Input,
        *,
        idempotency_key: str | None = None,
        queue: str | None = None,
        retry: Retry | None = None,
        timeout: Duration | None = None,
        local: bool | None = None,
        deadline: Duration | None = None,
        start_timeout: Duration | None = None,
        heartbeat: Duration | None = None,
        cache: Cache | Literal[False] | None = None,
        priority: int | None = None,
    ) -> Output: ...

    async def run(
        self,
        ctx: StepContext,
        payload: Any = None,
        *,
        idempotency_key: str | None = None,
        queue: str | None = None,
        retry: Retry | None = None,
        timeout: Duration | None = None,
        local: bool | None = None,
        deadline: Duration | None = None,
        start_timeout: Duration | None = None,
        heartbeat: Duration | None = None,
        cache: Cache | Literal[False] | None = None,
        priority: int | None = None,
    ) -> Output:
        """Run the task as a step of a workflow: its recorded result is final and it never runs again.

        With an `idempotency_key`, calls with the same key in one run are one step. `queue`, `retry`, `timeout` (of one attempt),
        `deadline`, `start_timeout` and `heartbeat` override the task's own (see `@task`). `local`: run in the process that holds the run,
        with one durable write and no hop, instead of sending it to a task worker; that is not for a task with limits. `cache`: which
        results of other runs may answer the call (False: none). `priority`: in place of the task's, which must declare one (or limits by
        key, or `fair`).

        Raises `TaskFailed` when the task failed for good, `PayloadError` when `payload` does not fit.
        """
        data = self._signature.payload.encode(payload, self._input, large=True)
        is_local = self.local if local is None else local
        what = f"task {self.name!r}"
        limit = None if timeout is None else seconds(timeout, f"timeout of {what}", least=LEAST_LIMIT)
        limits = self.limits
        if deadline is not None or start_timeout is not None or heartbeat is not None:
            given = Limits.of(what, deadline=deadline, start_timeout=start_timeout, heartbeat=heartbeat)
            check_heartbeat(limit, given.heartbeat, what)
            limits = given.over(limits)
        standing = self._standing(data, priority, what, is_local)
        # A task worker knows the task's own retry and timeout; a host that runs it locally need not have it registered.
        value = await ctx.run_step(
            self.name,
            data,
            body=self._local_body(ctx, data) if is_local else None,
            key=idempotency_key,
            queue=check_name(queue, "queue") if queue is not None else self.queue,
            retry=self.retry if retry is None and is_local else retry,
            timeout=self.timeout if limit is None and is_local else limit,
            limits=limits,
            cache=self._cache.use(cache, payload, data),
            standing=standing,
        )
        output: Output = self._signature.result.decode(value, self._result)
        return output

    def _standing(self, data: bytes, priority: int | None, what: str, is_local: bool) -> str:
        admission = self.admission
        if admission is None or admission.cap is not None:
            if priority is not None:
                raise DefinitionError(
                    f"{what} takes no priority: nothing stands in an order. Declare one, `@task(priority=0)`, or limits", where="priority"
                )
            if admission is not None and is_local:
                raise _runs_here(what)
            return ""
        if is_local:
            raise _runs_here(what)
        return admission.standing(self._signature.payload.decode(data, self._input), priority)

    def standing(self, payload: bytes) -> str:
        """Where a dispatch with this payload stands at the task's gate; one that cannot be told stands with those without a key."""
        assert self.admission is not None
        try:
            return self.admission.standing(self._signature.payload.decode(payload, self._input))
        except Exception:
            return f"0.{NO_KEY}"

    def _local_body(self, ctx: StepContext, data: bytes) -> Callable[[str, int, Pulse | None], Awaitable[bytes]]:
        def body(key: str, attempt: int, pulse: Pulse | None) -> Awaitable[bytes]:
            return self.execute(data, run_id=getattr(ctx, "run_id", ""), attempt=attempt, key=key, pulse=pulse)

        return body

    async def execute(self, payload: bytes, *, run_id: str, attempt: int, key: str, pulse: Pulse | None = None) -> bytes:
        """One attempt, as a worker makes it: from JSON to JSON. A plain `def` runs in a thread."""
        context = TaskContext(task=self.name, attempt=attempt, run_id=RunId(run_id), idempotency_key=key, pulse=pulse)
        interceptor = INTERCEPTOR.get()
        if interceptor is None:
            return await self._execute(payload, context)
        return await interceptor.task(self, payload, context, lambda: self._execute(payload, context))

    async def _execute(self, payload: bytes, context: TaskContext) -> bytes:
        value = await decoded(self._signature.payload, payload, self._input)
        arguments: list[Any] = []
        if self._signature.positional:
            arguments.append(value)
        if self._signature.positional == 2:
            arguments.append(context)
        call: Callable[..., Any] = self.function
        result = await call(*arguments) if self._is_async else await run_in_thread(call, *arguments)
        return await encoded(self._signature.result, result, self._result)


def _runs_here(what: str) -> DefinitionError:
    return DefinitionError(f"{what} has limits, which are kept where dispatches are let in; a local step is not dispatched", where="local")


def _check_context_is_second(function: Callable[..., Any], what: str) -> None:
    """Alone it would be taken for the payload."""
    if not inspect.isroutine(function):
        return
    parameters = list(inspect.signature(function).parameters.values())
    if len(parameters) == 1 and parameters[0].annotation in (TaskContext, TaskContext.__name__):
        example = f"`(payload, {parameters[0].name}: TaskContext)`"
        raise DefinitionError(f"{what}: a TaskContext comes second, after the payload: {example}", where=what)
