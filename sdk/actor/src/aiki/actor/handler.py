"""The `@handler` decorator: what an actor can be asked and told."""

from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload

from aiki.actor.context import CONTEXT, ActorContext
from aiki.types.errors import DefinitionError

__all__ = ["Handler", "handler"]

Parameters = ParamSpec("Parameters")
Output = TypeVar("Output")


class Handler(Generic[Parameters, Output]):
    """Made by `@handler`. On an actor's reference it takes what the method takes after its context; so it does within the actor itself."""

    def __init__(self, function: Callable[..., Awaitable[Output]], *, read_only: bool) -> None:
        self.function = function
        self.read_only = read_only
        self.name = getattr(function, "__name__", "")
        self.__doc__ = function.__doc__
        self.__wrapped__ = function

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> "Handler[Parameters, Output]": ...
    @overload
    def __get__(self, instance: object, owner: type | None = None) -> Callable[Parameters, Awaitable[Output]]: ...

    def __get__(self, instance: object | None, owner: type | None = None) -> Any:
        if instance is None:
            return self

        def call(*args: Any, **kwargs: Any) -> Awaitable[Output]:
            """Within a handler: another one of the same actor, as a part of the same call. Outside, give it a context."""
            if args and isinstance(args[0], ActorContext):
                return self.function(instance, *args, **kwargs)
            if (context := CONTEXT.get()) is None:
                raise DefinitionError(f"{self.name} is called outside of the actor: use Actor.ref(client, id).ask", where="handler")
            return self.function(instance, context, *args, **kwargs)

        return call

    def __repr__(self) -> str:
        return f"<handler {self.name!r}>"


class HandlerDecorator(Protocol):
    """What `handler(...)` returns."""

    def __call__(
        self, function: Callable[Concatenate[Any, ActorContext, Parameters], Awaitable[Output]], /
    ) -> Handler[Parameters, Output]: ...


@overload
def handler(function: Callable[Concatenate[Any, ActorContext, Parameters], Awaitable[Output]], /) -> Handler[Parameters, Output]: ...
@overload
def handler(*, read_only: bool = False) -> HandlerDecorator: ...


def handler(function: Callable[..., Any] | None = None, /, *, read_only: bool = False) -> Any:
    """Declare a handler: `@handler` above `async def add(self, ctx: ActorContext, item: str) -> int`, with one payload or none.

    It may do I/O, and while it runs the actor takes no other message. It may run more than once for one message; what it does to the state
    (the actor's annotated attributes) counts once, and only if it succeeds. `read_only`: it answers without a write, and what it does to
    the state is discarded.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        return Handler(function, read_only=read_only)

    return decorate if function is None else decorate(function)
