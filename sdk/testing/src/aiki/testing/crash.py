"""Crashes at chosen commits."""

import asyncio
from collections.abc import Callable
from typing import Any, Literal

from aiki.types.errors import DefinitionError
from aiki.types.subjects import Subjects

__all__ = ["CommitWatch", "PlannedCrash", "When"]

When = Literal["before", "after"]


class PlannedCrash:
    """A crash of the worker that is to come. `happened` tells whether it has, `wait` waits for it."""

    def __init__(self, number: int, when: When, *, restart: bool) -> None:
        if type(number) is not int or number < 1:
            raise DefinitionError(f"commits are counted from 1: {number!r} will never come", where="crash")
        self.left = number
        self.when = when
        self.restart = restart
        self.happened = False
        self._waiting: list[asyncio.Future[None]] = []

    async def wait(self) -> None:
        """Returns once the worker has crashed (and, if that was asked for, another one has taken its place)."""
        if not self.happened:
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(waiting)
            await waiting

    def done(self) -> None:
        """It has happened."""
        self.happened = True
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)
        self._waiting.clear()


class CommitWatch:
    """A worker's transport, which knows a commit when it sees one: a compare-and-set of a run's state."""

    def __init__(self, transport: Any, subjects: Subjects, crash: Callable[[PlannedCrash], None]) -> None:
        self.commits = 0
        self.planned: list[PlannedCrash] = []
        self._transport = transport
        self._prefix = subjects.runs_prefix
        self._crash = crash

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def publish(self, subject: str, data: bytes, **options: Any) -> "asyncio.Future[Any]":
        """As the transport does, but for what is planned."""
        if not subject.startswith(self._prefix) or options.get("expect") is None:
            return self._store(subject, data, options)
        self.commits += 1
        due = [planned for planned in self.planned if planned.left == 1]
        for planned in self.planned:
            planned.left -= 1
        self.planned = [planned for planned in self.planned if planned.left > 0]
        if not due:
            return self._store(subject, data, options)
        loop = asyncio.get_running_loop()
        never: asyncio.Future[Any] = loop.create_future()
        if any(planned.when == "before" for planned in due):
            loop.call_soon(self._crash, due[0])
        else:
            self._store(subject, data, options).add_done_callback(lambda _: self._crash(due[0]))
        return never

    def _store(self, subject: str, data: bytes, options: dict[str, Any]) -> "asyncio.Future[Any]":
        answer: asyncio.Future[Any] = self._transport.publish(subject, data, **options)
        return answer
