"""A step that workflow code has issued, while its run is in memory."""

import asyncio
from collections.abc import Awaitable, Callable
from hashlib import blake2b
from typing import NamedTuple

from aiki.journal.state import ChildRun, StepKind
from aiki.types.cache import CacheUse
from aiki.types.failure import ErrorInfo
from aiki.types.limits import NO_LIMITS, Limits
from aiki.types.messages import Attempt
from aiki.types.pulse import Pulse
from aiki.types.retry import Retry

__all__ = ["Body", "Operation", "Outcome", "StepId", "StepOptions", "keyed_address"]

StepId = tuple[str, int]
"""A step's content address and its ordinal among the calls with that address."""

Body = Callable[[str, int, Pulse | None], Awaitable[bytes]]
"""What runs a local step in the host: from the step's idempotency key, the attempt's number (from 1 on) and where its signs of life go to
the encoded result."""


def keyed_address(name: str, key: str) -> str:
    """The address of a step with an idempotency key.

    The key is hashed, so that what follows the name has one length: names and keys that hold ":" or "!" do not run into each other.
    """
    return f"{name}!{blake2b(key.encode(), digest_size=8).hexdigest()}"


class Outcome(NamedTuple):
    """How a step ended: `value` (JSON) when `error` is None. `failed` holds the failed attempts before the last one.

    `begun`: an attempt was under way when it ended; its time may have been over between two of them, or before the first.
    """

    value: bytes
    error: ErrorInfo | None
    failed: tuple[Attempt, ...] = ()
    begun: bool = True


class StepOptions(NamedTuple):
    """How a step is to be run. None: as its task declares."""

    queue: str | None = None
    retry: Retry | None = None
    timeout: float | None = None
    key: str | None = None
    limits: Limits = NO_LIMITS
    child: ChildRun | None = None
    cache: CacheUse | None = None
    standing: str = ""
    """Where a dispatch stands at its task's gate, if that has one (see `Admission.standing`)."""


class Operation:
    """One issued step and the futures of those who await it (several, when calls share an idempotency key)."""

    __slots__ = ("body", "futures", "id", "input", "kind", "name", "options", "outcome")

    def __init__(self, id: StepId, kind: StepKind, name: str, input: bytes, options: StepOptions, body: Body | None) -> None:
        self.id = id
        self.kind = kind
        self.name = name
        self.input = input
        self.options = options
        self.body = body
        self.outcome: Outcome | None = None
        self.futures: list[asyncio.Future[Outcome]] = []

    @property
    def abandoned(self) -> bool:
        """Whether everybody who waited for it was interrupted."""
        return self.outcome is None and bool(self.futures) and all(future.cancelled() for future in self.futures)

    @property
    def looks_first(self) -> bool:
        """Whether the host looks for a cached result before it sends the task."""
        return self.kind == "task" and self.options.cache is not None

    def resolve(self, outcome: Outcome) -> None:
        """Give the outcome to whoever still waits."""
        self.outcome = outcome
        for future in self.futures:
            if not future.done():
                future.set_result(outcome)
        self.futures.clear()
