"""Sagas: steps that are undone, in reverse order, when what they belong to fails."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, TypeVar, overload

import msgspec

from aiki.schema import content_hash
from aiki.types.duration import Duration
from aiki.types.errors import DefinitionError, SagaFailed, TaskFailed
from aiki.types.failure import ErrorInfo
from aiki.types.retry import Retry
from aiki.workflow.scope import SCOPE, Scope
from aiki.workflow.shelter import sheltered
from aiki.workflow.undo import MARK, Done, Mark, argument_of

if TYPE_CHECKING:
    from aiki.task import Task
    from aiki.workflow.context import Context
    from aiki.workflow.definition import Workflow

__all__ = ["Saga"]

Input = TypeVar("Input")
Output = TypeVar("Output")

if TYPE_CHECKING:
    Step: TypeAlias = Task[Input, Output, ..., Any] | Workflow[Input, Output]


class Saga:
    """Made by `ctx.saga()`: `async with ctx.saga() as saga:`. When the block is left by an error or a cancellation, what `run` has done and
    `add` was given is undone, the latest first; whoever is cancelled meanwhile. When the block ends well, nothing happens.

    The error goes on as it is, or, when undoing failed too, as the cause of a `SagaFailed`. What could not be undone does not keep the rest
    from being undone. A further attempt of the workflow runs again what was undone, and finishes first what was not.
    """

    def __init__(self, context: "Context") -> None:
        self._context = context
        self._done: list[Done] = []
        self._running: list[asyncio.Future[None]] = []
        self._failures: list[tuple[str, ErrorInfo]] = []
        self._state: Literal["new", "open", "undoing", "ended"] = "new"
        self.task: asyncio.Task[Any] | None = None
        """The asyncio task whose block it is."""

    async def __aenter__(self) -> Self:
        if self._state != "new":
            raise DefinitionError("a saga is one block: `async with ctx.saga() as saga:`", where="saga")
        self._state = "open"
        self.task = asyncio.current_task()
        self._context.sagas.append(self)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is not None and not isinstance(error, Exception | asyncio.CancelledError | SystemExit):
            return  # the code is abandoned, not over
        try:
            if error is not None:
                await sheltered(self._undo(), "saga")
        finally:
            self._state = "ended"
            self._context.sagas.remove(self)
        if self._failures and isinstance(error, Exception):
            raise self._failed(ErrorInfo.of(error)) from error

    # What a task is given as `undo` is called with is found out by its type, so both are offered.
    @overload
    async def run(
        self,
        step: "Step[Input, Output]",
        payload: Input,
        *,
        undo: "Step[Output, Any] | Callable[[Output], Awaitable[object]]",
        undo_on_failure: Literal[False] = False,
        idempotency_key: str | None = None,
        queue: str | None = None,
        retry: Retry | None = None,
        timeout: Duration | None = None,
        deadline: Duration | None = None,
    ) -> Output: ...
    @overload
    async def run(
        self,
        step: "Step[Input, Output]",
        payload: Input,
        *,
        undo: "Step[Input, Any] | Callable[[Output | None], Awaitable[object]]",
        undo_on_failure: bool = False,
        idempotency_key: str | None = None,
        queue: str | None = None,
        retry: Retry | None = None,
        timeout: Duration | None = None,
        deadline: Duration | None = None,
    ) -> Output: ...
    @overload
    async def run(
        self,
        step: "Step[None, Output]",
        payload: None = None,
        *,
        undo: "Step[Output, Any] | Step[None, Any] | Callable[[Output], Awaitable[object]]",
        undo_on_failure: bool = False,
        idempotency_key: str | None = None,
        queue: str | None = None,
        retry: Retry | None = None,
        timeout: Duration | None = None,
        deadline: Duration | None = None,
    ) -> Output: ...

    async def run(self, step: Any, payload: Any = None, *, undo: Any, undo_on_failure: bool = False, **options: Any) -> Any:
        """Run a task, or a workflow as a child, and undo it should the saga fail.

        `undo` is a task or workflow that takes the step's result, or else its payload (its declared type says which; the result, when both
        are of one type), or a function of the result, `lambda receipt: refund.run(ctx, receipt)`.

        A step that failed for good is not undone. With `undo_on_failure=True` it is, as its outcome may be uncertain (a time-out, a worker
        lost, a cancellation under way): then a task is given the payload in any case, and a function None in place of the result.
        Further options are those of `Task.run`. An `idempotency_key` is the step's the first time; done again, it has another.
        """
        self._check_open()
        if not callable(undo):
            raise DefinitionError(f"undo must be a task, a workflow or a function of the result, not {undo!r}", where="saga")
        options = {name: value for name, value in options.items() if value is not None}
        context = self._context
        key = options.get("idempotency_key")
        data = step.input_schema.encode(payload, f"input of {step.name!r}", large=True)
        call = context.undoing.identify(step.name, content_hash(data) if key is None else f"!{key}", shared=key is not None)
        running = asyncio.get_running_loop().create_future()
        self._running.append(running)
        try:
            turn = 0
            while True:
                id, within = call.turn(turn)
                known = context.undoing.before.get(id)
                if known is None:
                    return await self._do(id, within, step, payload, undo, undo_on_failure, options)
                # An attempt before has undone it, or was about to: that comes to its end first.
                result = await step.run(context.within(within), payload, **options) if known else None
                await sheltered(self._undo_now(self._make(id, step, payload, result, undo, known)), "saga")
                turn += 1
        finally:
            self._running.remove(running)
            running.set_result(None)

    def add(self, compensation: Callable[[], Awaitable[object]], *, name: str | None = None) -> None:
        """Something to be done by hand when the saga fails: a function without arguments, whose steps are recorded like any others.

        What it undoes must be done anew by a further attempt of the workflow: let that have an idempotency key with `ctx.attempt` in it.
        """
        self._check_open()
        if not callable(compensation):
            raise DefinitionError(f"a compensation is a function, `lambda: refund.run(ctx, receipt)`, not {compensation!r}", where="saga")
        shown = name or str(getattr(compensation, "__name__", "compensation"))
        self._done.append(Done(self._context.undoing.unique(), shown, True, compensation, by_hand=True))

    async def compensate(self) -> None:
        """Undo now what the saga has done so far; the block goes on. Raises `SagaFailed` when something could not be undone."""
        self._check_open()
        try:
            await sheltered(self._undo(), "saga")
        finally:
            self._state = "open"
        if self._failures:
            failed, self._failures = self._failed(None), []
            raise failed

    def _check_open(self) -> None:
        if self._state == "undoing":
            raise SagaFailed("the saga is being undone: no further step begins", error=None, failures=())
        if self._state != "open":
            raise DefinitionError("steps of a saga run within its block: `async with ctx.saga() as saga:`", where="saga")

    def _make(self, id: str, step: Any, payload: Any, result: Any, undo: Any, completed: bool) -> Done:
        def call() -> Awaitable[Any]:
            if hasattr(undo, "input_schema"):
                made: Awaitable[Any] = undo.run(self._context, argument_of(step, undo, payload, result, completed=completed))
            else:
                made = undo(result)
            return made

        return Done(id, step.name, completed, call)

    async def _do(self, id: str, scope: Scope | None, step: Any, payload: Any, undo: Any, uncertain: bool, options: Any) -> Any:
        completed, result = False, None
        try:
            result = await step.run(self._context.within(scope), payload, **options)
            completed = True
        finally:
            # Also when the loop is abandoned; then nobody looks at it any more.
            if (completed or uncertain) and all(done.id != id for done in self._done):
                self._done.append(self._make(id, step, payload, result, undo, completed))
        return result

    async def _undo(self) -> None:
        self._state = "undoing"
        while self._running:  # what they have done must be known first
            await asyncio.wait(self._running)
        done, self._done = self._done[::-1], []
        steps = {each.id: each.completed for each in done if not each.by_hand}
        if steps:
            await self._mark(steps)
        for each in done:
            try:
                await self._undo_now(each)
            except Exception:
                continue

    async def _mark(self, steps: dict[str, bool]) -> None:
        async def body(key: str, attempt: int, pulse: Any) -> bytes:
            return b"null"

        data = msgspec.json.encode(Mark(self._context.attempt, steps))
        while True:
            try:
                await self._context.run_step(MARK, data, body=body, key=None, queue=None, retry=None, timeout=None)
            except TaskFailed:  # somebody has cancelled it, by its name
                continue
            return

    async def _undo_now(self, done: Done) -> None:
        surroundings = contextvars.copy_context()
        surroundings.run(SCOPE.set, Scope(f"undo-{content_hash(msgspec.json.encode(done.id))}", is_undo=True))
        try:
            await asyncio.create_task(_awaited(done.undo), name=f"undo {done.name}", context=surroundings)
        except (Exception, asyncio.CancelledError) as error:
            self._failures.append((done.name, ErrorInfo.of(error)))
            self._context.logger.error("saga: %s could not be undone: %s: %s", done.name, type(error).__name__, error)
            if isinstance(error, asyncio.CancelledError):
                raise SagaFailed(f"{done.name} could not be undone: its undo cancelled itself", error=None, failures=()) from error
            raise

    def _failed(self, error: ErrorInfo | None) -> SagaFailed:
        failures = tuple(self._failures)
        named = "; ".join(f"{name}: {failure}" for name, failure in failures)
        why = f"{error} — and " if error is not None else ""
        return SagaFailed(f"{why}{len(failures)} of its steps could not be undone: {named}", error=error, failures=failures)


async def _awaited(undo: Callable[[], Awaitable[Any]]) -> None:
    await undo()
