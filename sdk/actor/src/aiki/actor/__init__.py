"""Entity actors: classes whose live copies have an id, a state that is kept, and one message at a time."""

from aiki.actor.base import Actor
from aiki.actor.context import ActorContext
from aiki.actor.decorator import actor
from aiki.actor.handler import handler
from aiki.actor.ref import ActorRef
from aiki.actor.views import ActorView

__all__ = ["Actor", "ActorContext", "ActorRef", "ActorView", "actor", "handler"]
