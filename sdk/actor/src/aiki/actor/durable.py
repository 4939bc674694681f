"""Calls of actors from workflows: each is a recorded local step, whose body sends the call under the step's idempotency key.

So the call is applied once, however often the body runs: the actor remembers its id and its answer.
"""

from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from typing import Any, Protocol

from aiki.entities import Caller
from aiki.types.errors import DefinitionError
from aiki.types.retry import Retry

__all__ = ["Served", "StepContext", "ask_durably", "tell_durably"]

CALLER: ContextVar[Caller | None] = ContextVar("aiki_actor_caller", default=None)
"""Of the worker whose workflow code is running."""


class StepContext(Protocol):
    """What is needed of a workflow's context."""

    async def run_step(
        self,
        name: str,
        payload: bytes,
        *,
        body: Callable[[str, int], Awaitable[bytes]] | None,
        key: str | None,
        queue: str | None,
        retry: Retry | None,
        timeout: float | None,
    ) -> bytes:
        """Record a step and answer its result as JSON."""


class Served:
    """A workflow as a worker serves it: its code finds the worker's caller. All else is the workflow's own."""

    def __init__(self, definition: Any, caller: Caller) -> None:
        self._definition = definition
        self._caller = caller

    def __getattr__(self, name: str) -> Any:
        return getattr(self._definition, name)

    def program(self, machine: Any) -> Coroutine[Any, Any, bytes]:
        """The code of one run."""

        async def program() -> bytes:
            CALLER.set(self._caller)
            result: bytes = await self._definition.program(machine)
            return result

        return program()


async def ask_durably(
    ctx: StepContext, actor: str, name: str, handler: str, payload: bytes, *, key: str | None, timeout: float | None
) -> bytes:
    """The answer, recorded. Raises `TaskFailed`, whose `error` says what the actor's error was."""
    caller = CALLER.get()

    async def body(step: str, attempt: int) -> bytes:
        return await _present(caller).ask(actor, handler, payload, id=f"{step}/{handler}", timeout=None, keep=True)

    return await ctx.run_step(name, _input(actor, payload), body=body, key=key, queue=None, retry=None, timeout=timeout)


async def tell_durably(
    ctx: StepContext, actor: str, name: str, handler: str, payload: bytes, *, key: str | None, timeout: float | None
) -> None:
    """Returns when the message is stored and that is recorded."""
    caller = CALLER.get()

    async def body(step: str, attempt: int) -> bytes:
        await _present(caller).tell(actor, handler, payload, id=f"{step}/{handler}", keep=True)
        return b"null"

    await ctx.run_step(f"tell {name}", _input(actor, payload), body=body, key=key, queue=None, retry=None, timeout=timeout)


def _present(caller: Caller | None) -> Caller:
    if caller is None:
        raise DefinitionError("workflow code can call actors only in a worker", where="actor")
    return caller


def _input(actor: str, payload: bytes) -> bytes:
    return b'{"actor":"%b","payload":%b}' % (actor.encode(), payload)
