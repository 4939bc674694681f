"""Sub-workflows: runs that a run has started."""

import asyncio
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from aiki.client import Event
from aiki.journal import ChildRun, Outcome
from aiki.schema import Schema
from aiki.types.duration import Duration
from aiki.types.errors import ChildCancelled, ChildFailed, ChildTimedOut, TaskCancelled
from aiki.types.identifiers import RunId

if TYPE_CHECKING:
    from aiki.workflow.context import Context

__all__ = ["ChildHandle"]

Output = TypeVar("Output")
Payload = TypeVar("Payload")

_FAILURES: dict[str | None, type[ChildFailed]] = {
    ChildCancelled.code: ChildCancelled,
    ChildTimedOut.code: ChildTimedOut,
    TaskCancelled.code: ChildCancelled,
}


class ChildHandle(Generic[Output]):
    """A sub-workflow, in the code of its parent. `await` it for its result; its start is durable, waited for or not."""

    def __init__(self, context: "Context", child: ChildRun, future: "asyncio.Future[Outcome]", output: Schema[Output]) -> None:
        self.id = RunId(child.run_id)
        self.workflow = child.workflow
        self._context = context
        self._child = child
        self._future = future
        self._output = output

    def __repr__(self) -> str:
        return f"<child run {self.id} of workflow {self.workflow!r}>"

    def __await__(self) -> Generator[Any, None, Output]:
        return self.wait_for_completion().__await__()

    async def wait_for_completion(self, timeout: Duration | None = None) -> Output:
        """The child's result. Raises `ChildFailed`, `ChildCancelled` or `ChildTimedOut`, which name its id, and `TimeoutError`.

        Whoever waits may be interrupted: the child goes on all the same.
        """
        limit = None if timeout is None else self._context.limit(timeout, "timeout")
        async with asyncio.timeout(limit):
            return await self.opened(await asyncio.shield(self._future))

    async def opened(self, outcome: Outcome) -> Output:
        """The result, or what the outcome raises."""
        error = outcome.error
        if error is None:
            return self._output.decode(await self._context.opened(outcome.value), f"result of workflow {self.workflow!r}")
        kind = _FAILURES.get(error.code, ChildFailed)
        raise kind(error.message, run_id=self.id, workflow=self.workflow, error=error.cause)

    async def send(self, event: Event[Payload], payload: Payload) -> None:
        """Send the child an event, durably and once."""
        await self._context.send(self.id, event, payload, region=self._child.region)

    async def cancel(self, reason: str = "") -> None:
        """Tell the child to end; waiting for it then raises `ChildCancelled`."""
        await self._context.cancel(self.id, reason, region=self._child.region)
