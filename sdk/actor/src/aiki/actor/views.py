"""An actor as it is stored, to look at."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from aiki.client import Client
from aiki.entities import EntityState, decode_entity
from aiki.kv import EntityStore
from aiki.types.errors import ActorNotFound
from aiki.types.failure import ErrorInfo
from aiki.types.names import check_name, from_token
from aiki.types.subjects import Subjects

__all__ = ["ActorView", "ReminderView", "every", "find"]

BATCH = 64


class ReminderView(msgspec.Struct, frozen=True, kw_only=True):
    """A reminder that is set. `every` is seconds."""

    name: str
    handler: str
    due_at: datetime
    every: float | None


class ActorView(msgspec.Struct, frozen=True, kw_only=True):
    """An actor. `status` is `active`, `held` or `stopped`; `fields` are its state; `error` says why it is not active."""

    actor: str
    id: str
    status: str
    fields: dict[str, Any]
    changed_at: datetime
    revision: int
    reminders: tuple[ReminderView, ...] = ()
    error: ErrorInfo | None = None


async def find(client: Client, actor: str, id: str) -> ActorView:
    """`ActorNotFound` when nobody has changed that actor yet, or it has expired."""
    key = Subjects.actor_key(check_name(actor, "actor"), check_name(id, "actor's id"))
    stored = await EntityStore(client.transport, client.subjects).read(key)
    if stored is None:
        raise ActorNotFound(f"there is no actor {actor} {id!r}: nobody has changed it yet, or it has expired", actor=actor, id=id)
    return _view(decode_entity(stored.value), stored.revision)


async def every(client: Client, actor: str | None = None) -> AsyncIterator[ActorView]:
    """All actors (of a type) that have a state, by type and id."""
    store = EntityStore(client.transport, client.subjects)
    keys = await store.keys(actor)
    for begin in range(0, len(keys), BATCH):
        for stored in await asyncio.gather(*(store.read(key) for key in keys[begin : begin + BATCH])):
            if stored is not None:
                yield _view(decode_entity(stored.value), stored.revision)


def _view(state: EntityState, revision: int) -> ActorView:
    type, _, id = state.actor.partition(".")
    return ActorView(
        actor=from_token(type),
        id=from_token(id),
        status=state.status,
        fields=msgspec.json.decode(state.data),
        changed_at=datetime.fromtimestamp(state.changed_at, UTC),
        revision=revision,
        reminders=tuple(
            ReminderView(name=name, handler=each.handler, due_at=datetime.fromtimestamp(each.due, UTC), every=each.every)
            for name, each in state.reminders.items()
        ),
        error=state.error,
    )
