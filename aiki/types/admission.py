"""What may be at work at a time: limits over the whole fleet, the fairness between keys, and priorities.

A dispatch that is subject to any of these waits at its task's gate. Its *place* there says what the gate must know of it, as three tokens
of a subject: its priority, its group (what the keys made of its payload) and when it was issued.
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any

import msgspec

from aiki.types.duration import Duration, seconds
from aiki.types.errors import DefinitionError
from aiki.types.names import from_token, to_token

__all__ = ["NO_KEY", "Admission", "Concurrency", "Key", "Rate", "hidden", "key_of", "key_token", "place_of"]

Key = Callable[[Any], str | int]
"""From a task's payload to whatever the limit counts by: a customer's id, say."""

NO_KEY = "="
"""The token of a limit without a key. No key has it."""

SEPARATOR = "~"
"""Between the tokens of a group. No token holds it."""

MAX_LIMITS = 8
MAX_PRIORITY = 9
MAX_COUNT = 1_000_000
LONG_KEY = 48
"""Characters of a token above which a key is told by its hash."""
MAX_KEY = 1024


class Concurrency(msgspec.Struct, frozen=True):
    """At most `count` at a time: over the whole fleet, or (`key`) of each key."""

    count: int
    key: Key | None = msgspec.field(default=None, name="key")

    def __post_init__(self) -> None:
        _check_count(self.count, "Concurrency")
        _check_function(self.key, "the key of a Concurrency")


class Rate(msgspec.Struct, frozen=True):
    """At most `count` in any period of the length `per`: over the whole fleet, or (`key`) of each key."""

    count: int
    per: Duration = 1.0
    key: Key | None = msgspec.field(default=None, name="key")

    def __post_init__(self) -> None:
        _check_count(self.count, "Rate")
        seconds(self.per, "the period of a Rate", least=0.001)
        _check_function(self.key, "the key of a Rate")

    @property
    def period(self) -> float:
        """`per` in seconds."""
        return seconds(self.per, "the period of a Rate")


class Admission:
    """How a task's dispatches are let in. `fair`: between whose keys turns are taken; without it, those of the first limit that has one."""

    def __init__(self, limits: Sequence[Concurrency | Rate], fair: Key | None, priority: int | Callable[[Any], int], what: str) -> None:
        self.limits = tuple(limits)
        self.what = what
        self._fair = fair
        self._priority = priority

    @classmethod
    def of(
        cls,
        what: str,
        *,
        concurrency: int | None = None,
        limits: Sequence[Concurrency | Rate] = (),
        fair: Key | None = None,
        priority: int | Callable[[Any], int] | None = None,
    ) -> "Admission | None":
        """As a user declares it; None without any limit. `DefinitionError` for what cannot work; `what` names whose it is."""
        if concurrency is not None:
            limits = (Concurrency(concurrency), *limits)
        if len(limits) > MAX_LIMITS:
            raise DefinitionError(f"{what} has {len(limits)} limits; {MAX_LIMITS} are possible", where="limits")
        for limit in limits:
            if not isinstance(limit, Concurrency | Rate):
                raise DefinitionError(f"{what}: a limit is a Concurrency(…) or a Rate(…), not {limit!r}", where="limits")
        _check_function(fair, f"fair of {what}")
        if priority is not None and not callable(priority):
            _check_priority(priority, what)
        if not limits and fair is None and priority is None:
            return None
        return cls(limits, fair, 0 if priority is None else priority, what)

    @property
    def cap(self) -> int | None:
        """The one limit that the server itself can keep: so many at a time, and nothing else to be seen to. None: it takes a gate."""
        plain = self._fair is None and self._priority == 0 and len(self.limits) == 1
        if plain and isinstance(self.limits[0], Concurrency) and self.limits[0].key is None:
            return self.limits[0].count
        return None

    def standing(self, payload: Any, priority: int | None = None) -> str:
        """Priority and group of a dispatch with this payload. `DefinitionError` when a key or a priority cannot be one."""
        if priority is None:
            priority = self._priority(payload) if callable(self._priority) else self._priority
        _check_priority(priority, self.what)
        keys = [limit.key for limit in self.limits]
        fair = self._fair or next((key for key in keys if key is not None), None)
        tokens = [NO_KEY if key is None else key_token(key(payload), self.what) for key in (fair, *keys)]
        return f"{priority}.{SEPARATOR.join(tokens)}"


def place_of(standing: str, issued_at: float) -> str:
    """The place of a dispatch: where it stands, and since when, so that places of one group sort by age."""
    return f"{standing}.{max(int(issued_at * 1e6), 0):014x}"


def hidden(standing: str) -> str:
    """The same standing with keys that nobody can read: what stands in subjects is not sealed. Who can guess a key can still tell it."""
    priority, _, group = standing.partition(".")
    return f"{priority}.{SEPARATOR.join(_hidden(token) for token in group.split(SEPARATOR))}"


def _hidden(token: str) -> str:
    return token if token.startswith("=") and (token == NO_KEY or token.startswith("==")) else _hashed(from_token(token))


def _hashed(text: str) -> str:
    return f"=={blake2b(text.encode(), digest_size=16).hexdigest()}"


def key_token(key: object, what: str) -> str:
    """A key as one token: readable while it is short."""
    if isinstance(key, bool) or not isinstance(key, str | int):
        raise DefinitionError(f"{what}: a key must be a string or an integer, not {key!r}", where="key")
    text = str(key)
    if not 0 < len(text) <= MAX_KEY:
        raise DefinitionError(f"{what}: a key has 1 to {MAX_KEY} characters, not {len(text)}", where="key")
    token = to_token(text)
    return token if len(token) <= LONG_KEY else _hashed(text)


def key_of(token: str) -> str | None:
    """The key of a token; the hash of a long one; None where there is no key."""
    if token == NO_KEY:
        return None
    return token[2:] if token.startswith("==") else from_token(token)


def _check_priority(priority: object, what: str) -> None:
    if type(priority) is not int or not 0 <= priority <= MAX_PRIORITY:
        raise DefinitionError(
            f"{what}: a priority is an integer from 0 (the default) to {MAX_PRIORITY} (first of all), not {priority!r}", where="priority"
        )


def _check_count(count: object, what: str) -> None:
    if type(count) is not int or not 1 <= count <= MAX_COUNT:
        raise DefinitionError(f"the count of a {what} must be an integer from 1 to {MAX_COUNT}, not {count!r}", where="limits")


def _check_function(function: object, what: str) -> None:
    if function is not None and not callable(function):
        raise DefinitionError(f"{what} must be a function of the payload, not {function!r}", where="key")
