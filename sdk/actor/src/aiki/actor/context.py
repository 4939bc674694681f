"""What a handler may know of its call, and do to others."""

import logging
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Protocol

from aiki.entities import Scope
from aiki.entities.scope import PlannedReminder
from aiki.schema import Schema
from aiki.types.duration import Duration, seconds
from aiki.types.errors import DefinitionError
from aiki.types.names import check_name

__all__ = ["CONTEXT", "ActorContext"]

LEAST_EVERY = 1.0
_log = logging.getLogger("aiki.actor")


class Reminded(Protocol):
    """What reminders need of the actor's type."""

    name: str

    def input(self, handler: str) -> Schema[Any]: ...


class ActorContext:
    """Given to each handler; `Other.ref(ctx, id)` makes a reference to another actor with it.

    A `tell` and a reminder take effect when the handler has succeeded and the state is stored, once; an `ask` is made at once.
    """

    def __init__(self, id: str, definition: Reminded, scope: Scope) -> None:
        self.id = id
        self.actor = definition.name
        self._definition = definition
        self._scope = scope

    def __repr__(self) -> str:
        return f"<context of actor {self.actor} {self.id!r}>"

    @property
    def scope(self) -> Scope:
        """The engine's side."""
        return self._scope

    @property
    def call_id(self) -> str:
        """Of this message: the same when it comes again. Pass it on to services that take an idempotency key."""
        return f"{self._scope.call.actor}/{self._scope.call.id}"

    @property
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """Logs with the actor's type and id."""
        return logging.LoggerAdapter(_log, {"actor": self.actor, "actor_id": self.id})

    def now(self) -> datetime:
        """When this call began, in UTC."""
        return datetime.fromtimestamp(self._scope.now, UTC)

    def remind(
        self,
        handler: Any,
        payload: Any = None,
        *,
        after: Duration | None = None,
        at: datetime | None = None,
        every: Duration | None = None,
        name: str | None = None,
    ) -> None:
        """Have this actor call its own `handler` (a handler or its name) `after` a time or `at` an instant, and then `every` so often.

        Durable: it comes, never early, whatever dies. `name` (default: the handler's) is what replaces and cancels it.
        Raises `DefinitionError`, `PayloadError`.
        """
        wanted = handler if isinstance(handler, str) else getattr(handler, "name", None)
        if not isinstance(wanted, str):
            raise DefinitionError(f"remind takes a handler or its name, not {handler!r}", where="remind")
        data = self._definition.input(wanted).encode(payload, f"input of {self.actor}.{wanted}")
        period = None if every is None else seconds(every, "every", least=LEAST_EVERY)
        if (after is None) == (at is None) and not (after is None and period is not None):
            raise DefinitionError("remind takes either after= or at=", where="remind")
        if at is not None:
            if at.tzinfo is None:
                raise DefinitionError("at= needs a time zone: datetime(…, tzinfo=UTC)", where="remind")
            due = at.timestamp()
        else:
            due = self._scope.now + (seconds(after, "after") if after is not None else period or 0.0)
        self._scope.remind(_reminder(name or wanted), PlannedReminder(due, period, wanted, data))

    def cancel_reminder(self, name: str) -> None:
        """Cancel the reminder of that name; without one, nothing happens."""
        self._scope.remind(_reminder(name), None)


def _reminder(name: str) -> str:
    return check_name(name, "reminder")


CONTEXT: ContextVar[ActorContext | None] = ContextVar("aiki_actor_context", default=None)
"""Of the handler that is running."""
