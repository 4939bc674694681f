"""Stubs: what tests put in the place of a task's body."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import msgspec

from aiki.task import Task, TaskContext
from aiki.types.errors import DefinitionError

__all__ = ["Bodies", "Call", "Stub"]

Input = TypeVar("Input")


class Call(msgspec.Struct, Generic[Input], frozen=True, kw_only=True):
    """One attempt that came to a stub."""

    payload: Input
    attempt: int
    run_id: str
    idempotency_key: str


class Stub(Generic[Input]):
    """Made by `TestEnvironment.stub`. `calls` holds every attempt that came to it, oldest first."""

    def __init__(self, task: Task[Input, Any, ..., Any], outcomes: tuple[Any, ...]) -> None:
        if not outcomes:
            raise DefinitionError(f"the stub of task {task.name!r} needs an outcome: a result, an exception or a function", where="stub")
        self.calls: list[Call[Input]] = []
        self.task = task
        self._what = f"result of the stub of task {task.name!r}"
        self._outcomes = outcomes
        for outcome in outcomes:
            if not _is_error(outcome) and not _is_function(outcome):
                task.output_schema.encode(outcome, self._what)

    def __repr__(self) -> str:
        return f"<stub of task {self.task.name!r}, called {len(self.calls)} times>"

    @property
    def payloads(self) -> list[Input]:
        """Those of all calls."""
        return [call.payload for call in self.calls]

    async def answer(self, payload: bytes, context: TaskContext) -> bytes:
        """One attempt, as the task's body would make it: from JSON to JSON."""
        value = self.task.input_schema.decode(payload, f"input of task {self.task.name!r}")
        outcome = self._outcomes[min(len(self.calls), len(self._outcomes) - 1)]
        self.calls.append(Call(payload=value, attempt=context.attempt, run_id=context.run_id, idempotency_key=context.idempotency_key))
        if _is_error(outcome):
            raise outcome
        if _is_function(outcome):
            outcome = await _call(outcome, value, context)
        return self.task.output_schema.encode(outcome, self._what)


class Bodies:
    """Between the engine and all bodies of one environment: counts them, and puts stubs in their place."""

    def __init__(self) -> None:
        self.runs: dict[str, int] = {}
        self.stubs: dict[str, Stub[Any]] = {}

    async def task(
        self, task: Task[Any, Any, ..., Any], payload: bytes, context: TaskContext, proceed: Callable[[], Awaitable[bytes]]
    ) -> bytes:
        """An attempt of a task."""
        self._count(task.name)
        stub = self.stubs.get(task.name)
        return await (proceed() if stub is None else stub.answer(payload, context))

    async def step(self, name: str, run_id: str, proceed: Callable[[], Awaitable[bytes]]) -> bytes:
        """An attempt of a `ctx.step`."""
        self._count(name)
        return await proceed()

    def _count(self, name: str) -> None:
        self.runs[name] = self.runs.get(name, 0) + 1


def _is_error(outcome: object) -> bool:
    return isinstance(outcome, BaseException) or (isinstance(outcome, type) and issubclass(outcome, BaseException))


def _is_function(outcome: object) -> bool:
    return inspect.isroutine(outcome) or isinstance(outcome, Task)


async def _call(function: Callable[..., Any], payload: object, context: TaskContext) -> Any:
    """With as many of (payload, context) as it takes; a plain function runs in a thread, as the body of a task does."""
    takes = len(inspect.signature(function).parameters)
    arguments = (payload, context)[:takes]
    if inspect.iscoroutinefunction(function):
        return await function(*arguments)
    return await asyncio.to_thread(function, *arguments)
