"""Entity actors: virtual actors with state of their own, one message at a time, fenced only by compare-and-set."""

from aiki.entities.caller import Caller
from aiki.entities.definitions import EntityDefinition, OnError
from aiki.entities.host import EntityHost
from aiki.entities.scope import Scope
from aiki.entities.state import EntityState, Reminder, decode_entity

__all__ = ["Caller", "EntityDefinition", "EntityHost", "EntityState", "OnError", "Reminder", "Scope", "decode_entity"]
