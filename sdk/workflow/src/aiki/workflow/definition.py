"""A workflow: an `async def` whose runs survive crashes, deployments and months of waiting."""

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Generic, TypeVar, overload

from aiki.client import Client, OnConflict, RunHandle, ScheduleHandle
from aiki.client.schedules import Schedules
from aiki.journal import RunMachine
from aiki.schedules import Schedule
from aiki.schema import Schema, read_signature
from aiki.types.duration import Duration, seconds
from aiki.types.errors import DefinitionError
from aiki.types.identifiers import RunId
from aiki.types.names import check_name
from aiki.types.retry import Retry
from aiki.types.trigger import Trigger
from aiki.workflow.context import Context

__all__ = ["Workflow"]

LEAST_TIMEOUT = 0.001

Input = TypeVar("Input")
Output = TypeVar("Output")


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
        self._signature = read_signature(function, what, skip=1, most=1, names=scope)
        self._input = f"input of {what}"
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

    @overload
    async def enqueue(
        self: "Workflow[None, Output]",
        client: Client,
        payload: None = None,
        *,
        idempotency_key: str | None = None,
        on_conflict: OnConflict = "error",
        trigger: Trigger | None = None,
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
    ) -> RunHandle[Output]: ...

    async def enqueue(
        self,
        client: Client,
        payload: Any = None,
        *,
        idempotency_key: str | None = None,
        on_conflict: OnConflict = "error",
        trigger: Trigger | None = None,
    ) -> RunHandle[Output]:
        """Start a run. When this has returned, the run happens, whatever dies after that.

        The same `idempotency_key` finds the same run. With another payload that is an `IdempotencyConflict`, unless
        `on_conflict="return_existing"`. Raises `PayloadError` when `payload` does not fit, before anything is stored.
        """
        data = self._signature.payload.encode(payload, self._input)
        return await client.start_run(
            self.name, self.version, data, self._signature.result, idempotency_key=idempotency_key, on_conflict=on_conflict, trigger=trigger
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
        return RunHandle(client, RunId(run_id), self.name, self.version, self._signature.result)

    def program(self, machine: RunMachine) -> Coroutine[Any, Any, bytes]:
        """The code of one run, for the engine."""
        return self._program(machine)

    async def _program(self, machine: RunMachine) -> bytes:
        context = Context(machine)
        if self._signature.positional:
            result = await self.function(context, self._signature.payload.decode(machine.state.input, self._input))
        else:
            result = await self.function(context)
        return self._signature.result.encode(result, self._result)
