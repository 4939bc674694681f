"""The `@actor` decorator."""

import sys
from typing import Any, Protocol, TypeVar, overload

from aiki.actor.base import Actor
from aiki.actor.definition import ATTRIBUTE, ActorDefinition
from aiki.actor.ref import ActorRef
from aiki.entities import OnError
from aiki.types.duration import Duration

__all__ = ["ActorDecorator", "ActorType", "actor"]

Kind = TypeVar("Kind")
Derived = TypeVar("Derived", bound=Actor)


class ActorType(Protocol[Kind]):
    """A class of actors, to checkers that see what a class decorator returns (pyright does; for mypy derive from `Actor`)."""

    def ref(self, at: Any, id: str, *, key: str | None = None, timeout: Duration | None = None) -> ActorRef[Kind]:
        """See `Actor.ref`."""

    def __call__(self) -> Kind:
        """A copy with the defaults."""


class ActorDecorator(Protocol):
    """What `actor(...)` returns."""

    @overload
    def __call__(self, cls: type[Derived], /) -> type[Derived]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, cls: type[Kind], /) -> ActorType[Kind]: ...


def actor(*, name: str | None = None, ttl: Duration | None = None, on_error: OnError = "restart") -> ActorDecorator:
    """Declare a class of actors: `@actor(name="cart")`. Each id has one actor, which exists as soon as it is called.

    Its state are the annotated attributes of the class, each with a default; its methods with `@handler` are what it can be asked and told.
    `ttl`: so long after its last change the state expires, and the actor begins anew. `on_error`: what becomes of an actor whose handler
    raised (its state is as it was): it goes on with the next message (`restart`), takes none until `ref.resume()` and keeps them (`hold`),
    or loses its state and refuses messages (`stop`). Raises `DefinitionError` when the declaration cannot work.
    """
    scope = sys._getframe(1).f_locals

    def decorate(cls: Any) -> Any:
        definition = ActorDefinition(cls, name=name, ttl=ttl, on_error=on_error, scope=scope)
        setattr(cls, ATTRIBUTE, definition)
        if not issubclass(cls, Actor):
            cls.ref = classmethod(Actor.ref.__func__)  # type: ignore[attr-defined]
        return cls

    return decorate
