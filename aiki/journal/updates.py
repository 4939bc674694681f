"""Updates of one run: messages that its code handles and answers."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from aiki.journal.loop import DeterministicLoop
from aiki.journal.state import Updated
from aiki.types.failure import ErrorInfo
from aiki.types.messages import Answer

__all__ = ["UpdateHandler", "Updates"]

UpdateHandler = Callable[[bytes], Awaitable[bytes]]
"""From an update's payload to its answer, both JSON. Runs on the run's loop and may issue steps."""


class Updates:
    """`handlers` are given by the program. `answers`, by id, are derived from the journal by replay: they are stored nowhere else."""

    def __init__(self, loop: DeterministicLoop) -> None:
        self._loop = loop
        self.handlers: Mapping[str, UpdateHandler] = {}
        self.answers: dict[str, Answer] = {}
        self._begun: list[Updated] = []

    def begin(self, entry: Updated) -> None:
        """The journal has come to this update."""
        self._begun.append(entry)
        task = self._loop.create_task(self._answer(entry), name=f"update {entry.name}")
        task.add_done_callback(_forget_outcome)
        self._loop.drain()

    @property
    def unanswered(self) -> list[Updated]:
        """Those whose handlers are at work."""
        return [entry for entry in self._begun if entry.id not in self.answers]

    async def _answer(self, entry: Updated) -> None:
        try:
            handler = self.handlers.get(entry.name)
            if handler is None:
                raise LookupError(f"the workflow handles no update {entry.name!r}")
            answer = Answer(entry.id, await handler(entry.payload))
        except Exception as error:
            answer = Answer(entry.id, b"", ErrorInfo.of(error))
        self.answers[entry.id] = answer


def _forget_outcome(task: "asyncio.Task[None]") -> None:
    if not task.cancelled():
        task.exception()
