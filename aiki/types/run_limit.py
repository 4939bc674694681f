"""How many runs of a workflow may be under way at a time, and what becomes of a start beyond that."""

from collections.abc import Callable
from typing import Any, Literal

from aiki.types.admission import MAX_PRIORITY, NO_KEY, Concurrency, key_token
from aiki.types.errors import DefinitionError

__all__ = ["OnLimit", "RunLimit", "check_run_priority"]

OnLimit = Literal["queue", "reject", "return_existing", "cancel_previous"]
ON_LIMIT: tuple[OnLimit, ...] = OnLimit.__args__  # type: ignore[attr-defined]


class RunLimit:
    """At most `count` runs at a time: of all, or of each key. `decode`: from a payload as stored to what the key is made of."""

    def __init__(self, concurrency: Concurrency, on_limit: OnLimit, decode: Callable[[bytes], Any], what: str) -> None:
        self.count = concurrency.count
        self.on_limit = on_limit
        self.keyed = concurrency.key is not None
        self._key = concurrency.key
        self._decode = decode
        self._what = what

    @classmethod
    def of(cls, what: str, concurrency: "int | Concurrency | None", on_limit: OnLimit, decode: Callable[[bytes], Any]) -> "RunLimit | None":
        """As a user declares it; None without a limit. `DefinitionError` for what cannot work."""
        if on_limit not in ON_LIMIT:
            raise DefinitionError(f"{what}: on_limit must be one of {', '.join(ON_LIMIT)}, not {on_limit!r}", where="on_limit")
        if concurrency is None:
            if on_limit != "queue":
                raise DefinitionError(f"{what}: on_limit={on_limit!r} needs a limit: concurrency=1, for example", where="on_limit")
            return None
        limit = concurrency if isinstance(concurrency, Concurrency) else Concurrency(concurrency)
        return cls(limit, on_limit, decode, what)

    def key(self, payload: bytes) -> str:
        """What this payload is counted by, as one token. `PayloadError`, `DefinitionError`, and what the key's function raises."""
        return NO_KEY if self._key is None else key_token(self._key(self._decode(payload)), self._what)


def check_run_priority(priority: object, limit: RunLimit | None) -> None:
    """`DefinitionError` unless a start may have it."""
    if type(priority) is not int or not 0 <= priority <= MAX_PRIORITY:
        raise DefinitionError(
            f"priority is an integer from 0 (the default) to {MAX_PRIORITY} (first of all), not {priority!r}", where="priority"
        )
    if priority and limit is None:
        raise DefinitionError(
            "a priority orders starts that wait at their workflow's limit, and this one has none: @workflow(concurrency=…)",
            where="priority",
        )
