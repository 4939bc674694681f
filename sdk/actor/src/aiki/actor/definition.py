"""A class of actors, as the engine and its references see it."""

import copy
import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

from aiki.actor.context import CONTEXT, ActorContext
from aiki.actor.fields import Fields
from aiki.actor.handler import Handler
from aiki.entities import OnError, Scope
from aiki.schema import Schema, read_signature
from aiki.types.duration import Duration, seconds
from aiki.types.errors import DefinitionError, PayloadError, UnknownHandler
from aiki.types.names import check_name, from_token

__all__ = ["ActorDefinition", "definition_of", "is_actor"]

ATTRIBUTE = "__aiki_actor__"
LEAST_TTL = 1.0
_NONE = inspect.Parameter.empty


class Method(NamedTuple):
    """One handler. `parameter` is the payload's name (None: it takes none), `default` its default."""

    function: Any
    read_only: bool
    input: Schema[Any]
    output: Schema[Any]
    parameter: str | None
    default: Any
    where_input: str
    where_output: str


class ActorDefinition:
    """Made by `@actor`; what the engine needs (`aiki.entities.EntityDefinition`)."""

    def __init__(self, cls: type, *, name: str | None, ttl: Duration | None, on_error: OnError, scope: Mapping[str, Any] | None) -> None:
        if not isinstance(cls, type):
            raise DefinitionError(f"@actor takes a class, not {cls!r}", where="actor")
        self.name = check_name(name if name is not None else cls.__name__, "actor")
        what = f"actor {self.name!r}"
        if on_error not in ("restart", "hold", "stop"):
            raise DefinitionError(f'{what}: on_error must be "restart", "hold" or "stop", not {on_error!r}', where=what)
        if inspect.getattr_static(cls, "__init__") is not object.__init__:
            raise DefinitionError(f"{what}: it must not have an __init__; give its annotated attributes defaults", where=what)
        self.cls = cls
        self.ttl = None if ttl is None else seconds(ttl, f"ttl of {what}", least=LEAST_TTL)
        self.on_error: OnError = on_error
        self._fields = Fields(cls, what, scope)
        self.methods = {name: _method(cls, name, found, what, scope) for name, found in _handlers(cls).items()}
        if not self.methods:
            raise DefinitionError(f"{what}: it has no @handler", where=what)

    def __repr__(self) -> str:
        return f"<actor {self.name!r}>"

    # -- for references

    def method(self, handler: str) -> Method:
        """`UnknownHandler`, which says what there is."""
        try:
            return self.methods[handler]
        except KeyError:
            known = ", ".join(self.methods)
            raise UnknownHandler(
                f"actor {self.name!r} has no handler {handler!r}; it has {known}", actor=self.name, handler=handler
            ) from None

    def input(self, handler: str) -> Schema[Any]:
        """The payload's type."""
        return self.method(handler).input

    def encode(self, handler: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """The payload of a call. `PayloadError`; `TypeError` for what no call of the method would take."""
        method = self.method(handler)
        allowed = 0 if method.parameter is None else 1
        if len(args) + len(kwargs) > allowed or any(name != method.parameter for name in kwargs):
            takes = "no payload" if method.parameter is None else f"one payload, {method.parameter!r}"
            raise TypeError(f"{self.name}.{handler} takes {takes}")
        if method.parameter is None:
            return b"null"
        value = args[0] if args else kwargs.get(method.parameter, method.default)
        if value is _NONE:
            raise TypeError(f"{self.name}.{handler} needs its payload {method.parameter!r}")
        return method.input.encode(value, method.where_input)

    # -- for the engine

    def fresh(self) -> bytes:
        """See `EntityDefinition`."""
        return self._fields.fresh

    def revive(self, data: bytes) -> Any:
        """See `EntityDefinition`."""
        return self._fields.revive(data)

    def freeze(self, instance: Any) -> bytes:
        """See `EntityDefinition`."""
        return self._fields.freeze(instance)

    def read_only(self, handler: str) -> bool | None:
        """See `EntityDefinition`."""
        method = self.methods.get(handler)
        return None if method is None else method.read_only

    def argument(self, handler: str, payload: bytes) -> Any:
        """See `EntityDefinition`."""
        method = self.methods[handler]
        try:
            return method.input.decode(payload, method.where_input)
        except PayloadError:
            if method.default is not _NONE and payload == b"null":
                return copy.deepcopy(method.default)
            raise

    async def call(self, instance: Any, handler: str, argument: Any, scope: Scope) -> bytes:
        """See `EntityDefinition`."""
        method = self.methods[handler]
        context = ActorContext(from_token(scope.call.actor.partition(".")[2]), self, scope)
        token = CONTEXT.set(context)
        try:
            if method.parameter is None:
                result = await method.function(instance, context)
            else:
                result = await method.function(instance, context, argument)
        finally:
            CONTEXT.reset(token)
        return method.output.encode(result, method.where_output)


def is_actor(value: Any) -> bool:
    """Whether `@actor` has made this class."""
    return isinstance(value, type) and isinstance(vars(value).get(ATTRIBUTE), ActorDefinition)


def definition_of(cls: Any) -> ActorDefinition:
    """What `@actor` has made of a class; `DefinitionError` for anything else."""
    if not is_actor(cls):
        raise DefinitionError(f"{cls!r} is not an actor: is its decorator missing?", where="actor")
    found: ActorDefinition = vars(cls)[ATTRIBUTE]
    return found


def _handlers(cls: type) -> dict[str, Handler[..., Any]]:
    names = dict.fromkeys(name for base in reversed(cls.__mro__) for name in vars(base))
    return {name: found for name in names if isinstance(found := inspect.getattr_static(cls, name), Handler)}


def _method(cls: type, name: str, handler: Handler[..., Any], actor: str, scope: Mapping[str, Any] | None) -> Method:
    what = f"handler {name!r} of {actor}"
    if name in ("ref", "id") or name.startswith("_"):
        raise DefinitionError(f"{what}: a handler cannot have this name", where=what)
    if not inspect.iscoroutinefunction(handler.function):
        raise DefinitionError(f"{what}: it must be an `async def`", where=what)
    signature = read_signature(handler.function, what, skip=2, most=1, names={**(scope or {}), cls.__name__: cls})
    parameters = list(inspect.signature(handler.function).parameters.values())
    payload = parameters[2] if signature.positional else None
    where_input, where_output = f"input of {what}", f"result of {what}"
    default = _NONE
    if payload is not None and payload.default is not _NONE:
        default = payload.default
        signature.payload.encode(default, f"default of {what}")
    return Method(
        handler.function,
        handler.read_only,
        signature.payload,
        signature.result,
        None if payload is None else payload.name,
        default,
        where_input,
        where_output,
    )
