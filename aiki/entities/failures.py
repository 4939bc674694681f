"""Errors of actors on their way to who asked: as data, and back as the typed error."""

from aiki.types.actor_messages import Answer
from aiki.types.errors import (
    ActorDeadlock,
    ActorFailed,
    ActorHeld,
    ActorStopped,
    AikiError,
    OutcomeUnknown,
    PayloadError,
    PayloadTooLarge,
    UnknownHandler,
)
from aiki.types.names import from_token

__all__ = ["raised"]

_TYPED: dict[str, type[AikiError]] = {
    kind.code: kind for kind in (ActorDeadlock, ActorHeld, ActorStopped, OutcomeUnknown, PayloadError, PayloadTooLarge, UnknownHandler)
}


def raised(answer: Answer, actor: str, handler: str) -> AikiError:
    """The error that an answer stands for."""
    error = answer.error
    assert error is not None, "the caller has looked"
    type, _, id = actor.partition(".")
    fields = {"actor": from_token(type), "id": from_token(id), "handler": handler, "error": error}
    kind = _TYPED.get(error.code or "")
    if kind is None or (answer.failed and kind is not ActorDeadlock):
        return ActorFailed(f"actor {fields['actor']} {fields['id']!r}: {handler} failed: {error}", **fields)
    if kind is ActorDeadlock:
        fields["chain"] = answer.chain
    return kind(error.message, **fields)
