"""Calls of actors from workflows: each is a recorded local step, whose body sends the call under the step's idempotency key.

So the call is applied once, however often the body runs: the actor remembers its id and its answer.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol

from aiki.client import Client
from aiki.types.pulse import Pulse
from aiki.types.retry import Retry

__all__ = ["StepContext", "ask_durably", "tell_durably"]


class StepContext(Protocol):
    """What is needed of a workflow's context."""

    @property
    def client(self) -> Client:
        """The worker's, for the bodies of steps."""

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
    ) -> bytes:
        """Record a step and answer its result as JSON."""


async def ask_durably(
    ctx: StepContext, actor: str, name: str, handler: str, payload: bytes, *, key: str | None, timeout: float | None
) -> bytes:
    """The answer, recorded. Raises `TaskFailed`, whose `error` says what the actor's error was."""

    async def body(step: str, attempt: int, pulse: Pulse | None) -> bytes:
        return await ctx.client.caller.ask(actor, handler, payload, id=f"{step}/{handler}", timeout=None, keep=True)

    return await ctx.run_step(name, _input(actor, payload), body=body, key=key, queue=None, retry=None, timeout=timeout)


async def tell_durably(
    ctx: StepContext, actor: str, name: str, handler: str, payload: bytes, *, key: str | None, timeout: float | None
) -> None:
    """Returns when the message is stored and that is recorded."""

    async def body(step: str, attempt: int, pulse: Pulse | None) -> bytes:
        await ctx.client.caller.tell(actor, handler, payload, id=f"{step}/{handler}", keep=True)
        return b"null"

    await ctx.run_step(f"tell {name}", _input(actor, payload), body=body, key=key, queue=None, retry=None, timeout=timeout)


def _input(actor: str, payload: bytes) -> bytes:
    return b'{"actor":"%b","payload":%b}' % (actor.encode(), payload)
