"""A workflow: an `async def` whose runs survive crashes, deployments and months of waiting."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Generic, Literal, TypeVar, overload

from aiki.client import Client, Event, OnConflict, RunHandle, ScheduleHandle
from aiki.client.schedules import Schedules
from aiki.journal import CLEANUP, ChildRun, ParentClose, RunMachine
from aiki.schedules import Schedule
from aiki.schema import Schema, encoded, read_signature
from aiki.types.admission import Concurrency
from aiki.types.debounce import Debounce
from aiki.types.duration import Duration, seconds
from aiki.types.errors import DefinitionError
from aiki.types.identifiers import RunId, keyed_run_id
from aiki.types.names import check_key, check_name
from aiki.types.retention import Kept, Retention
from aiki.types.retry import Retry
from aiki.types.run_limit import OnLimit, RunLimit, check_run_priority
from aiki.types.trigger import Trigger
from aiki.workflow.child import ChildHandle
from aiki.workflow.context import Context
from aiki.workflow.handler import Handler
from aiki.workflow.hooks import Hook, Hooks, Occasion, SleepHooks
from aiki.workflow.variables import Variables, attach

__all__ = ["Workflow"]

LEAST_TIMEOUT = 0.001

Input = TypeVar("Input")
Output = TypeVar("Output")
HookFunction = TypeVar("HookFunction", bound=Hook)
HandlerFunction = TypeVar("HandlerFunction", bound=Callable[..., Any])


class Workflow(Generic[Input, Output]):
    """Made by `@workflow`. `enqueue` starts a run; called directly it is the plain function."""

    def __init__(
        self,
        function: Callable[..., Awaitable[Output]],
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
        scope: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = check_name(name if name is not None else getattr(function, "__name__", None), "workflow")
        self.version = check_name(version, "version")
        what = f"workflow {self.name!r}"
        if retry is not None and not isinstance(retry, Retry):
            raise DefinitionError(f"{what}: retry must be a Retry, for example Retry.fixed(…), not {retry!r}", where="retry")
        if not inspect.iscoroutinefunction(function):
            raise DefinitionError(f"{what}: its function must be an `async def`", where=what)
        self.function = function
        self.retry = retry if retry is not None else Retry.never()
        self.timeout = None if timeout is None else seconds(timeout, f"timeout of {what}", least=LEAST_TIMEOUT)
        self.deadline = None if deadline is None else seconds(deadline, f"deadline of {what}", least=LEAST_TIMEOUT)
        self.cleanup = seconds(cleanup, f"cleanup of {what}", least=LEAST_TIMEOUT)
        self.retention = Retention.of(retention, f"retention of {what}")
        if archive is not None and not isinstance(archive, bool):
            raise DefinitionError(f"{what}: archive must be True, False or None (as the worker says), not {archive!r}", where="archive")
        self.archive = archive
        if on_nondeterminism not in ("fail", "hold"):
            raise DefinitionError(
                f'{what}: on_nondeterminism must be "fail" or "hold", not {on_nondeterminism!r}', where="on_nondeterminism"
            )
        self.on_nondeterminism = on_nondeterminism
        self.events = None if events is None else frozenset(each.name for each in events)
        self._scope = dict(scope or {})
        self._hooks = Hooks()
        self._queries: dict[str, Handler] = {}
        self._updates: dict[str, Handler] = {}
        self._signature = read_signature(function, what, skip=1, most=1, names=scope)
        self._input = f"input of {what}"
        self.run_limit = RunLimit.of(what, concurrency, on_limit, self._decode_input)
        self._result = f"result of {what}"
        self.__doc__ = function.__doc__
        self.__wrapped__ = function

    def __call__(self, *args: Any, **kwargs: Any) -> Awaitable[Output]:
        """The plain function."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<workflow {self.name!r} version {self.version!r}>"

    @property
    def input_schema(self) -> Schema[Input]:
        """The payload's type."""
        return self._signature.payload

    @property
    def output_schema(self) -> Schema[Output]:
        """The result's type."""
        return self._signature.result

    # -- hooks, queries and updates

    def on_start(self, hook: HookFunction) -> HookFunction:
        """`@order.on_start`: before the workflow's first line, once per run: an attempt after one in which it has ended does not call it.

        What it raises fails the attempt.
        """
        return self._add_hook("on_start", hook)

    def before_each(self, hook: HookFunction) -> HookFunction:
        """`@order.before_each`: at each activation of a run, before its code begins or is replayed. What it raises fails the attempt."""
        return self._add_hook("before_each", hook)

    def on_sleep(self, hook: HookFunction) -> HookFunction:
        """`@order.on_sleep`: when the code begins to sleep, beside the sleep. What it raises is logged."""
        return self._add_hook("on_sleep", hook)

    def on_complete(self, hook: HookFunction) -> HookFunction:
        """`@order.on_complete`: when the workflow has returned, before the run is completed. What it raises is logged."""
        return self._add_hook("on_complete", hook)

    def on_error(self, hook: HookFunction) -> HookFunction:
        """`@order.on_error`: when the workflow has raised, at each attempt. What the hook raises is logged.

        Not when the run is terminated or takes longer than its time-out: then its code is not asked any more.
        """
        return self._add_hook("on_error", hook)

    def on_cancel(self, hook: HookFunction) -> HookFunction:
        """`@order.on_cancel`: when the run was cancelled, after the code has cleaned up, within its `cleanup` time. What it raises is
        logged."""
        return self._add_hook("on_cancel", hook)

    def _add_hook(self, occasion: Occasion, hook: HookFunction) -> HookFunction:
        self._hooks.add(occasion, hook)
        return hook

    def query(self, name: str) -> Callable[[HandlerFunction], HandlerFunction]:
        """`@order.query("total")` above `def total(state) -> int`: answers `handle.query("total")` from the workflow's variables.

        It takes `Variables` and, if it wants, a payload; it must change nothing and be no `async def`.
        """

        def add(function: HandlerFunction) -> HandlerFunction:
            self._queries[check_name(name, "query")] = Handler(function, f"query {name!r}", self._scope, is_async=False)
            return function

        return add

    def update(self, name: str) -> Callable[[HandlerFunction], HandlerFunction]:
        """`@order.update("reprice")` above `async def reprice(state, price: Price) -> int`: handles `handle.update("reprice", …)`.

        It takes `Variables` and, if it wants, a payload; it may change what the variables hold, wait, and run tasks with `state.ctx`. Its
        result goes to the sender, and so does what it raises.
        """

        def add(function: HandlerFunction) -> HandlerFunction:
            self._updates[check_name(name, "update")] = Handler(function, f"update {name!r}", self._scope, is_async=None)
            return function

        return add

    # -- sub-workflows

    async def run(
        self,
        ctx: Context,
        payload: Any = None,
        *,
        idempotency_key: str | None = None,
        on_conflict: OnConflict = "error",
        close: ParentClose = "cancel",
        queue: str | None = None,
        region: str | None = None,
        retry: Retry | None = None,
        timeout: Duration | None = None,
        deadline: Duration | None = None,
    ) -> Output:
        """Run this workflow as a child of the one whose context is given, and wait for its result.

        The child is a run of its own. With an `idempotency_key` it is the run of that key, also when somebody else has started it; with
        another payload that is a conflict, unless `on_conflict="return_existing"`. `close`: what becomes of the child when the parent ends
        first. `queue`: whose workers run its tasks; `region`: where it runs, on the same NATS; `retry`, `timeout` and `deadline` take the
        place of what the workflow declares. Raises `ChildFailed`, `ChildCancelled` or `ChildTimedOut`.
        """
        child = self._child(on_conflict, close, queue, region, retry, timeout, deadline, idempotency_key)
        data = self._signature.payload.encode(payload, self._input, large=True)
        handle, future = ctx.child(child, data, self._signature.result, idempotency_key)
        output: Output = await handle.opened(await future)
        return output

    async def start(
        self,
        ctx: Context,
        payload: Any = None,
        *,
        idempotency_key: str | None = None,
        on_conflict: OnConflict = "error",
        close: ParentClose = "cancel",
        queue: str | None = None,
        region: str | None = None,
        retry: Retry | None = None,
        timeout: Duration | None = None,
        deadline: Duration | None = None,
    ) -> ChildHandle[Output]:
        """The same as `run`, without waiting: a handle whose `await` answers the result."""
        child = self._child(on_conflict, close, queue, region, retry, timeout, deadline, idempotency_key)
        data = self._signature.payload.encode(payload, self._input, large=True)
        return ctx.child(child, data, self._signature.result, idempotency_key)[0]

    def _child(
        self,
        on_conflict: OnConflict,
        close: ParentClose,
        queue: str | None,
        region: str | None,
        retry: Retry | None,
        timeout: Duration | None,
        deadline: Duration | None,
        key: str | None,
    ) -> ChildRun:
        what = f"child {self.name!r}"
        if on_conflict not in ("error", "return_existing"):
            raise DefinitionError(f'on_conflict must be "error" or "return_existing", not {on_conflict!r}', what="on_conflict")
        if close not in ("cancel", "abandon", "terminate"):
            raise DefinitionError(f'close must be "cancel", "abandon" or "terminate", not {close!r}', what="close")
        if retry is not None and not isinstance(retry, Retry):
            raise DefinitionError(f"{what}: retry must be a Retry, for example Retry.fixed(…), not {retry!r}", where="retry")
        return ChildRun(
            run_id="",
            workflow=self.name,
            version=self.version,
            close=close,
            key=key,
            retry=retry,
            timeout=None if timeout is None else seconds(timeout, f"timeout of {what}", least=LEAST_TIMEOUT),
            deadline=None if deadline is None else seconds(deadline, f"deadline of {what}", least=LEAST_TIMEOUT),
            queue=None if queue is None else check_name(queue, "queue"),
            shares=on_conflict == "return_existing",
            region="" if region is None else check_name(region, "region"),
        )

    @overload
    async def enqueue(
        self: "Workflow[None, Output]",
        client: Client,
        payload: None = None,
        *,
        idempotency_key: str | None = None,
        on_conflict: OnConflict = "error",
        trigger: Trigger | None = None,
        priority: int = 0,
        debounce: Debounce | None = None,
    ) -> RunHandle[Output]: ...
    @overload
    async def enqueue(
        self,
        client: Client,
        payload: Input,
        *,
        idempotency_key: str | None = None,
        on_conflict: OnConflict = "error",
        trigger: Trigger | None = None,
        priority: int = 0,
        debounce: Debounce | None = None,
    ) -> RunHandle[Output]: ...

    async def enqueue(
        self,
        client: Client,
        payload: Any = None,
        *,
        idempotency_key: str | None = None,
        on_conflict: OnConflict = "error",
        trigger: Trigger | None = None,
        priority: int = 0,
        debounce: Debounce | None = None,
    ) -> RunHandle[Output]:
        """Start a run. When this has returned, the run happens, whatever dies after that.

        The same `idempotency_key` finds the same run. With another payload that is an `IdempotencyConflict`, unless
        `on_conflict="return_existing"`. `priority` (0 to 9): among the starts that wait at the workflow's limit, the highest comes first.
        `debounce`: calls with the same key become one run, which begins with the last payload when none has come for a while.
        Raises `PayloadError` when `payload` does not fit, and `LimitReached`, before anything is stored.
        """
        check_run_priority(priority, self.run_limit)
        data = await encoded(self._signature.payload, payload, self._input)
        return await client.start_run(
            self.name,
            self.version,
            data,
            self._signature.result,
            idempotency_key=idempotency_key,
            on_conflict=on_conflict,
            trigger=trigger,
            events=self.events,
            priority=priority,
            limit=self.run_limit,
            debounce=debounce,
        )

    @overload
    async def schedule(
        self: "Workflow[None, Output]",
        client: Client,
        schedule: Schedule,
        payload: None = None,
        *,
        id: str,
        on_conflict: OnConflict = "error",
    ) -> ScheduleHandle: ...
    @overload
    async def schedule(
        self, client: Client, schedule: Schedule, payload: Input, *, id: str, on_conflict: OnConflict = "error"
    ) -> ScheduleHandle: ...

    async def schedule(
        self, client: Client, schedule: Schedule, payload: Any = None, *, id: str, on_conflict: OnConflict = "error"
    ) -> ScheduleHandle:
        """Start runs with this payload by a schedule: `Schedule.cron(…)` or `Schedule.every(…)`. A timer service must run: `aiki timer`.

        The same `id` finds the same schedule. With other settings or another payload that is a `ScheduleConflict`, unless
        `on_conflict="return_existing"`. Raises `InvalidSchedule` and `PayloadError` before anything is stored.
        """
        data = self._signature.payload.encode(payload, self._input)
        await Schedules(client).create(id, schedule, self.name, self.version, data, on_conflict=on_conflict)
        return ScheduleHandle(client, id, self._signature.payload, self._input)

    def handle(self, client: Client, run_id: str) -> RunHandle[Output]:
        """A handle of a run that exists already."""
        return RunHandle(client, RunId(run_id), self.name, self.version, self._signature.result, self.events)

    def handle_by_key(self, client: Client, idempotency_key: str) -> RunHandle[Output]:
        """A handle of the run that was started, or will be, with this idempotency key."""
        return self.handle(client, keyed_run_id(self.name, check_key(idempotency_key)))

    def program(self, machine: RunMachine) -> Coroutine[Any, Any, bytes]:
        """The code of one run, for the engine."""
        return self._program(machine)

    async def _program(self, machine: RunMachine) -> bytes:
        context = Context(machine, self._encode_input, self.events)
        variables = Variables()
        if self._queries or self._updates:
            machine.queries = {name: partial(handler.answer, variables) for name, handler in self._queries.items()}
            machine.updates.handlers = {name: partial(handler.handle, variables, machine.opened) for name, handler in self._updates.items()}
        if self._hooks:
            return machine.claims.put(await self._with_hooks(machine, context, variables))
        return machine.claims.put(await self._code(machine, context, variables))

    def _decode_input(self, payload: bytes) -> Any:
        return self._signature.payload.decode(payload, self._input)

    def _encode_input(self, payload: Any) -> bytes:
        return self._signature.payload.encode(payload, self._input, large=True)

    async def _code(self, machine: RunMachine, context: Context, variables: Variables) -> bytes:
        if self._signature.positional:
            coroutine = self.function(context, self._signature.payload.decode(await machine.opened(machine.state.input), self._input))
        else:
            coroutine = self.function(context)
        attach(variables, coroutine)
        try:
            result = await coroutine
        except (Exception, asyncio.CancelledError):
            await context.end_sagas()
            raise
        return self._signature.result.encode(result, self._result, large=True)

    async def _with_hooks(self, machine: RunMachine, context: Context, variables: Variables) -> bytes:
        hooks = self._hooks
        sleeps = SleepHooks(hooks, context, machine.loop)
        if hooks.has("on_start") and not machine.marked_before("on_start"):
            await hooks.call("on_start", Context(machine, self._encode_input, self.events, "on-start."))
            machine.mark("on_start")
        await hooks.call("before_each", context)
        if hooks.has("on_sleep"):
            machine.loop.on_sleep = sleeps.began
        try:
            value = await self._code(machine, context, variables)
        except asyncio.CancelledError:
            if (asked := machine.state.cancelled) is not None:
                await hooks.call_safely("on_cancel", context, reason=asked.reason)
            raise
        except Exception as error:
            await hooks.call_safely("on_error", context, error=error, will_retry=machine.will_retry(error))
            raise
        if hooks.has("on_complete"):
            await hooks.call_safely("on_complete", context, result=self._signature.result.decode(value, self._result))
        await sleeps.ended()
        return value
