"""The cached results of one task, as whoever knows the task sees them."""

from typing import Any, Generic, Protocol, TypeVar

from aiki.schema import Schema, payload_hash
from aiki.types.cache import Cache, CacheUse
from aiki.types.errors import DefinitionError

__all__ = ["CacheOwner", "TaskCache"]

Input = TypeVar("Input")


class CacheOwner(Protocol):
    """What is needed of a client."""

    async def invalidate_cached(self, task: str, id: str) -> None:
        """Forget one result."""

    async def clear_cached(self, task: str) -> int:
        """Forget all results of a task; answers how many there were."""


class TaskCache(Generic[Input]):
    """`fetch.cache`. `settings` are those of the declaration, if it has any.

    What is invalidated is not used by any lookup that begins afterwards; runs that have recorded it keep it. A worker that misses the
    announcement goes by what it knows for 5 seconds more.
    """

    __slots__ = ("_name", "_schema", "_where", "settings")

    def __init__(self, name: str, settings: Cache | None, schema: Schema[Input], where: str) -> None:
        if settings is not None and not isinstance(settings, Cache):
            raise DefinitionError(f"task {name!r}: cache must be a Cache, for example Cache(ttl=3600), not {settings!r}", where="cache")
        self.settings = settings
        self._name = name
        self._schema = schema
        self._where = where

    def use(self, given: Cache | bool | None, payload: Any, data: bytes) -> CacheUse | None:
        """The use that a call makes of it; `given` overrides the declaration, and False switches it off. `data` is the payload as JSON."""
        if given is None:
            settings = self.settings
        elif given is False:
            settings = None
        elif isinstance(given, Cache):
            settings = given
        else:
            raise DefinitionError(f"task {self._name!r}: cache must be a Cache or False, not {given!r}", where="cache")
        return None if settings is None else settings.use(payload, lambda: payload_hash(data))

    async def invalidate(self, client: CacheOwner, payload: Input, *, cache: Cache | None = None) -> None:
        """Forget the result for this payload, also one that is being computed now. `cache`: of calls that gave one of their own."""
        data = self._schema.encode(payload, self._where)
        use = (cache or self.settings or Cache()).use(payload, lambda: payload_hash(data))
        await client.invalidate_cached(self._name, use.id)

    async def invalidate_key(self, client: CacheOwner, key: str | int, *, cache: Cache | None = None) -> None:
        """The same by what the cache's `key` function makes of a payload."""
        await client.invalidate_cached(self._name, (cache or self.settings or Cache()).use_of(key).id)

    async def clear(self, client: CacheOwner) -> int:
        """Forget all that is stored for the task, whatever its version; answers how many results that were.

        A result that is being computed now, where none was stored before, may be stored afterwards.
        """
        return await client.clear_cached(self._name)
