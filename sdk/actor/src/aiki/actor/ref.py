"""A reference to an actor: by it the actor is asked and told, from wherever."""

from collections.abc import Awaitable, Callable
from typing import Any, Generic, Protocol, TypeVar

from aiki.actor.context import ActorContext
from aiki.actor.definition import ActorDefinition
from aiki.actor.durable import StepContext, ask_durably, tell_durably
from aiki.actor.views import ActorView, find
from aiki.client import Client
from aiki.types.actor_messages import RESUME
from aiki.types.duration import Duration, seconds
from aiki.types.errors import DefinitionError
from aiki.types.names import check_key, check_name
from aiki.types.subjects import Subjects

__all__ = ["DEFAULT_TIMEOUT", "ActorRef"]

Kind = TypeVar("Kind")

DEFAULT_TIMEOUT = 30.0
"""Seconds that an ask waits for its answer, unless said otherwise. From a workflow: as long as it takes."""


class Way(Protocol):
    """How calls go out from one place."""

    async def ask(self, handler: str, payload: bytes) -> bytes: ...
    async def tell(self, handler: str, payload: bytes) -> None: ...


class ActorRef(Generic[Kind]):
    """One actor, whether or not anybody has called it yet. Made by `Cart.ref(…)`.

    `await ref.ask.add("book")` waits for the handler's result. Raises `ActorFailed` (the handler raised), `ActorHeld`, `ActorStopped`,
    `ActorDeadlock`, `ActorTimeout` (it may or may not have happened); `PayloadError` before anything is sent.
    `await ref.tell.add("book")` returns when the message is stored; it is applied once, and answers nothing (whatever its type says).
    """

    def __init__(self, definition: ActorDefinition, at: Any, id: str, *, key: str | None = None, timeout: Duration | None = None) -> None:
        self.actor = definition.name
        self.id = check_name(id, "actor's id")
        self._client = at if isinstance(at, Client) else None
        if key is not None:
            check_key(key)
        limit = None if timeout is None else seconds(timeout, "timeout", least=0.001)
        actor = Subjects.actor_key(definition.name, self.id)
        way: Way
        if isinstance(at, Client):
            way = _FromClient(at, actor, key, DEFAULT_TIMEOUT if limit is None else limit)
        elif isinstance(at, ActorContext):
            way = _FromActor(at, actor, DEFAULT_TIMEOUT if limit is None else limit)
        elif hasattr(at, "run_step"):
            way = _FromWorkflow(at, actor, definition.name, key, limit)
        else:
            raise DefinitionError(f"ref takes a Client, a workflow's Context or an ActorContext, not {at!r}", where="ref")
        self._way = way
        # These are not live copies, but they take the same calls: so type checkers know what each handler takes and answers.
        self.ask: Kind = _Asking(definition, way)  # type: ignore[assignment]
        self.tell: Kind = _Telling(definition, way)  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<actor {self.actor} {self.id!r}>"

    async def resume(self) -> None:
        """Have an actor that is held take messages again, and one that was stopped begin anew. Returns when it does."""
        await self._way.ask(RESUME, b"null")

    async def describe(self) -> ActorView:
        """The actor as it is stored. `ActorNotFound` when nobody has changed it yet, or it has expired. Takes a client's reference."""
        if self._client is None:
            raise DefinitionError("describe takes a reference that was made with a client", where="ref")
        return await find(self._client, self.actor, self.id)


class _Asking:
    def __init__(self, definition: ActorDefinition, way: Way) -> None:
        self._definition = definition
        self._way = way

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        if name.startswith("_"):
            raise AttributeError(name)
        method, definition, way = self._definition.method(name), self._definition, self._way

        async def ask(*args: Any, **kwargs: Any) -> Any:
            return method.output.decode(await way.ask(name, definition.encode(name, args, kwargs)), method.where_output)

        return ask


class _Telling:
    def __init__(self, definition: ActorDefinition, way: Way) -> None:
        self._definition = definition
        self._way = way

    def __getattr__(self, name: str) -> Callable[..., Awaitable[None]]:
        if name.startswith("_"):
            raise AttributeError(name)
        definition, way = self._definition, self._way
        definition.method(name)

        async def tell(*args: Any, **kwargs: Any) -> None:
            await way.tell(name, definition.encode(name, args, kwargs))

        return tell


class _FromClient:
    def __init__(self, client: Client, actor: str, key: str | None, timeout: float) -> None:
        self._caller = client.caller
        self._actor = actor
        self._key = key
        self._timeout = timeout
        self._count = 0

    def _id(self) -> str | None:
        if self._key is None:
            return None
        self._count += 1
        return f"{self._key}/{self._count}"

    async def ask(self, handler: str, payload: bytes) -> bytes:
        keep = self._key is not None
        return await self._caller.ask(self._actor, handler, payload, id=self._id(), timeout=self._timeout, keep=keep)

    async def tell(self, handler: str, payload: bytes) -> None:
        await self._caller.tell(self._actor, handler, payload, id=self._id(), keep=self._key is not None)


class _FromActor:
    def __init__(self, context: ActorContext, actor: str, timeout: float) -> None:
        self._scope = context.scope
        self._actor = actor
        self._timeout = timeout

    async def ask(self, handler: str, payload: bytes) -> bytes:
        return await self._scope.ask(self._actor, handler, payload, timeout=self._timeout)

    async def tell(self, handler: str, payload: bytes) -> None:
        self._scope.tell(self._actor, handler, payload)


class _FromWorkflow:
    def __init__(self, context: StepContext, actor: str, type: str, key: str | None, timeout: float | None) -> None:
        self._context = context
        self._actor = actor
        self._type = type
        self._key = key
        self._timeout = timeout

    async def ask(self, handler: str, payload: bytes) -> bytes:
        return await ask_durably(self._context, self._actor, self._name(handler), handler, payload, key=self._key, timeout=self._timeout)

    async def tell(self, handler: str, payload: bytes) -> None:
        await tell_durably(self._context, self._actor, self._name(handler), handler, payload, key=self._key, timeout=self._timeout)

    def _name(self, handler: str) -> str:
        return f"{self._type}.{handler}"
