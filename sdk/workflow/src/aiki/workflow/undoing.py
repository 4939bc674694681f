"""What a run knows of undone steps: how they are identified, and which ones earlier attempts of the workflow have undone."""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from aiki.workflow.scope import SCOPE, Scope
from aiki.workflow.undo import Mark

__all__ = ["Call", "Undoings"]


class Call(NamedTuple):
    """One call of a step in a saga: the same at each attempt of the workflow."""

    id: str
    number: int
    outer: Scope | None

    def turn(self, turn: int) -> tuple[str, Scope | None]:
        """The id and the scope of the step when it is done for the `turn`-th time, from 0 on: each turn but the last was undone."""
        if not turn:
            return f"{self.id}/0", None
        before = f"{self.outer.text}-" if self.outer is not None else ""
        return f"{self.id}/{turn}", Scope(f"{before}{self.number}-{turn}")


class Undoings:
    """Of one run's code; `prefix` tells that of a hook from the rest."""

    def __init__(self, attempt: int, marks: Iterable[bytes], prefix: str = "") -> None:
        self.before: dict[str, bool] = {}
        """Ids of steps that earlier attempts have undone, or begun to, and whether each had completed."""
        for mark in marks:
            self.before.update(msgspec.json.decode(mark, type=Mark).steps)
        self._attempt = attempt
        self._prefix = prefix
        self._calls: dict[str, int] = {}
        self._added = 0

    def identify(self, name: str, content: str, *, shared: bool) -> Call:
        """The next call of that step with that content. `shared`: all calls with it are one."""
        outer = SCOPE.get()
        content = self._prefix + content
        address = f"{name}/{content}" if outer is None else f"{outer.text}/{name}/{content}"
        number = 0 if shared else self._calls.get(address, 0)
        self._calls[address] = number + 1
        return Call(f"{address}/{number}", number, outer)

    def unique(self) -> str:
        """An id that no other compensation has, in any attempt."""
        self._added += 1
        return f"+{self._prefix}{self._attempt}/{self._added}"
