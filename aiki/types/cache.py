"""Results that runs share: how a task says which of its results may be used again, and for how long."""

from collections.abc import Callable
from datetime import timedelta
from hashlib import blake2b, sha256
from typing import Any

import msgspec

from aiki.types.duration import Duration, seconds
from aiki.types.errors import DefinitionError
from aiki.types.names import check_name

__all__ = ["LONGEST_LABEL", "Cache", "CacheUse"]

LEAST_TTL = 0.001
LONGEST_LABEL = 80
"""Characters of a key that are kept to be shown."""
LONGEST_KEY = 1024


class CacheUse(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """One call's use of the cache, as it stands in the run's state and in the dispatch.

    `id` identifies the result among those of its task, `ttl` (seconds) is how old it may be. `revision` is what the lookup found: a result
    is stored only while that is still so, so that one that was on its way during an invalidation is not.
    """

    id: str
    ttl: float
    label: str = ""
    version: str = ""
    revision: int = 0


class Cache:
    """`@task(cache=Cache(ttl=timedelta(hours=1)))`: a result that is younger than `ttl` is used again, by all runs of the region.

    `key`: from the payload to what the result depends on, a string or an integer (default: the whole payload). It is called by the
    workflow's code, so it must be quick and depend on the payload alone. `version`: results of another version are not used; give another
    one when the body, or the type of what it returns, has changed. Raises `DefinitionError`.
    """

    __slots__ = ("key", "ttl", "version")

    def __init__(self, *, ttl: Duration = timedelta(hours=1), key: Callable[[Any], str | int] | None = None, version: str = "1") -> None:
        self.ttl = seconds(ttl, "ttl of a cache", least=LEAST_TTL)
        if key is not None and not callable(key):
            raise DefinitionError(f"key of a cache must be a function of the payload, not {key!r}", what="key of a cache")
        self.key = key
        self.version = check_name(version, "version")

    def __repr__(self) -> str:
        return f"Cache(ttl={self.ttl:g}, version={self.version!r})"

    def use(self, payload: Any, canonical: Callable[[], bytes]) -> CacheUse:
        """The use of a call with this payload; `canonical` gives what identifies the payload as a whole."""
        if self.key is None:
            digest = canonical()
            return CacheUse(_id(self.version, "payload", digest), self.ttl, f"payload {digest.hex()[:16]}", self.version)
        return self.use_of(self.key(payload))

    def use_of(self, key: str | int) -> CacheUse:
        """The use of a call with this key; `DefinitionError` when it is none."""
        if isinstance(key, bool) or not isinstance(key, str | int):
            raise DefinitionError(f"the key of a cached result must be a string or an integer, not {key!r}", what="key of a cache")
        text = str(key)
        if not text.isprintable() or not 0 < len(text) <= LONGEST_KEY:
            raise DefinitionError(
                f"the key of a cached result must have 1 to {LONGEST_KEY} printable characters, not {text[:40]!r}", what="key of a cache"
            )
        kind = "text" if isinstance(key, str) else "integer"
        digest = sha256(text.encode()).digest()
        return CacheUse(_id(self.version, kind, digest), self.ttl, text[:LONGEST_LABEL], self.version)


def _id(version: str, kind: str, digest: bytes) -> str:
    """32 hexadecimal characters (128 bits)."""
    head = msgspec.msgpack.encode((version, kind))
    return blake2b(head + digest, digest_size=16).hexdigest()
