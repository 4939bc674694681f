"""Hooks of a workflow: code of the user's that runs at turning points of a run."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from aiki.types.errors import DefinitionError

if TYPE_CHECKING:
    from aiki.workflow.context import Context

__all__ = ["Hook", "HookInfo", "Hooks", "Occasion"]

Occasion = Literal["on_start", "before_each", "on_sleep", "on_complete", "on_error", "on_cancel"]


class HookInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Why a hook is called. What does not belong to the occasion is None."""

    occasion: Occasion
    attempt: int
    until: datetime | None = None
    """on_sleep: when the sleep ends."""
    result: Any = None
    """on_complete: what the workflow returned."""
    error: BaseException | None = None
    """on_error: what the workflow raised."""
    will_retry: bool = False
    """on_error: whether the workflow begins again."""
    reason: str | None = None
    """on_cancel: what `cancel` was given."""


Hook = Callable[["Context", HookInfo], Awaitable[None]]


class Hooks:
    """The hooks of one workflow, several per occasion, called in the order in which they were added.

    A hook is workflow code: it is replayed, and may run tasks durably. One that fails before the workflow's first line fails the attempt; a
    later one is logged and changes nothing.
    """

    def __init__(self) -> None:
        self._hooks: dict[Occasion, list[Hook]] = {}

    def __bool__(self) -> bool:
        return bool(self._hooks)

    def add(self, occasion: Occasion, hook: Hook) -> None:
        """`DefinitionError` unless it is an `async def` of two parameters."""
        if not inspect.iscoroutinefunction(hook) or len(inspect.signature(hook).parameters) != 2:
            raise DefinitionError(f"{occasion}: a hook is an `async def hook(ctx: Context, info: HookInfo)`, not {hook!r}", where=occasion)
        self._hooks.setdefault(occasion, []).append(hook)

    def has(self, occasion: Occasion) -> bool:
        """Whether there is any."""
        return occasion in self._hooks

    async def call(self, occasion: Occasion, context: "Context", **facts: Any) -> None:
        """Call them; what they raise is raised."""
        for hook in self._hooks.get(occasion, ()):
            await hook(context, HookInfo(occasion=occasion, attempt=context.attempt, **facts))

    async def call_safely(self, occasion: Occasion, context: "Context", **facts: Any) -> None:
        """Call them; what they raise is logged."""
        for hook in self._hooks.get(occasion, ()):
            try:
                await hook(context, HookInfo(occasion=occasion, attempt=context.attempt, **facts))
            except Exception as error:
                context.logger.warning("hook %s (%s) failed: %s: %s", occasion, hook.__name__, type(error).__name__, error)


class SleepHooks:
    """Calls on_sleep beside each sleep of the code, but not for those of the hooks themselves."""

    def __init__(self, hooks: Hooks, context: "Context", loop: asyncio.AbstractEventLoop) -> None:
        self._hooks = hooks
        self._context = context
        self._loop = loop
        self._calls: set[asyncio.Task[None]] = set()

    def began(self, until: float) -> None:
        """A sleep has begun."""
        if asyncio.current_task(self._loop) in self._calls:
            return
        call = self._hooks.call_safely("on_sleep", self._context, until=datetime.fromtimestamp(until, UTC))
        task = self._loop.create_task(call, name="on_sleep")
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    async def ended(self) -> None:
        """Wait for those that still run."""
        if self._calls:
            await asyncio.wait(set(self._calls))
