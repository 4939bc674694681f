"""Events: what a run may wait for, by name and type."""

from collections.abc import Collection
from typing import Any, Generic, TypeVar, overload

from aiki.schema import Schema, schema_for
from aiki.types.errors import UnknownEvent
from aiki.types.names import check_name

__all__ = ["Event", "event", "unknown_event"]

Payload = TypeVar("Payload")


class Event(Generic[Payload]):
    """Made by `event(name, type)`. `await ctx.wait_for(paid)` takes one; `handle.send(paid, …)` sends one."""

    def __init__(self, name: str, payload: type[Payload] | Any = Any) -> None:
        self.name = check_name(name, "event")
        self._where = f"payload of event {name!r}"
        self.schema: Schema[Payload] = schema_for(payload, self._where)

    def __repr__(self) -> str:
        return f"<event {self.name!r}>"

    def encode(self, payload: Payload) -> bytes:
        """Validate a payload, and encode it as JSON; `PayloadError` when it does not fit."""
        return self.schema.encode(payload, self._where, large=True)

    def decode(self, data: bytes) -> Payload:
        """The payload of one that has come; `PayloadError` when the type has changed in between and it fits no more."""
        return self.schema.decode(data, self._where)


@overload
def event(name: str) -> Event[Any]: ...
@overload
def event(name: str, payload: type[Payload]) -> Event[Payload]: ...


def event(name: str, payload: Any = Any) -> Event[Any]:
    """Declare an event: `paid = event("paid", Payment)`. Without a type its payload is any JSON value."""
    return Event(name, payload)


def unknown_event(name: str, workflow: str, known: Collection[str]) -> UnknownEvent:
    """Why an event is refused that a workflow does not declare."""
    there_are = ", ".join(sorted(known)) or "none"
    message = f"workflow {workflow!r} waits for no event {name!r}; it declares {there_are}"
    return UnknownEvent(message, event=name, workflow=workflow, known=list(known))
