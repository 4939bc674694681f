"""What a task's body may know of its call, and tell of itself."""

from typing import Any

import msgspec

from aiki.schema import Schema, schema_for
from aiki.types.errors import PayloadTooLarge
from aiki.types.identifiers import RunId
from aiki.types.pulse import Pulse

__all__ = ["TaskContext"]

MOST_DETAILS = 16 * 1024
"""Bytes of a heartbeat's details, as JSON: they travel with the next attempt, through the run's state."""

_DETAILS: Schema[Any] = schema_for(Any, "details of a heartbeat")


class TaskContext:
    """One attempt of a task: ask for it with a second parameter, `async def ship(order: Order, task: TaskContext)`.

    `attempt` is 1 for the first. `idempotency_key` is the same for all attempts of this call, whatever happens: pass it on to services that
    take one. Made without an engine, for a unit test of a body, it hears its own heartbeats and is never cancelled.
    """

    __slots__ = ("_details", "_pulse", "attempt", "idempotency_key", "run_id", "task")

    def __init__(
        self, *, task: str, attempt: int, run_id: RunId, idempotency_key: str, last_heartbeat: Any = None, pulse: Pulse | None = None
    ) -> None:
        self.task = task
        self.attempt = attempt
        self.run_id = run_id
        self.idempotency_key = idempotency_key
        self._pulse = pulse
        self._details = _encoded(last_heartbeat) if pulse is None else pulse.details

    def __repr__(self) -> str:
        return f"<attempt {self.attempt} of task {self.task!r} in run {self.run_id}>"

    def heartbeat(self, details: Any = None) -> None:
        """The body is alive: its `heartbeat` limit begins anew. Cheap, also when called often, and from any thread.

        `details` (plain JSON, up to 16 KiB) are for the next attempt, should this one fail or its worker die; without any, those that were
        given before stand. Raises `PayloadError` for what JSON cannot hold, `PayloadTooLarge` for what is too much.
        """
        data = _encoded(details)
        self._details = self._details if data is None else data
        if self._pulse is not None:
            self._pulse.beat(self.attempt, data)

    @property
    def last_heartbeat(self) -> Any:
        """The details of the last heartbeat that had any, as plain JSON values: of this attempt, or of those before; else None."""
        return None if self._details is None else msgspec.json.decode(self._details)

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for this attempt any more: its run or step was cancelled, or its time is over. Stop if you can."""
        return self._pulse is not None and self._pulse.is_over(self.attempt)


def _encoded(details: Any) -> bytes | None:
    if details is None:
        return None
    data = _DETAILS.encode(details, "details of a heartbeat")
    if len(data) > MOST_DETAILS:
        raise PayloadTooLarge(
            f"the details of a heartbeat have {len(data)} bytes, over {MOST_DETAILS}: store them elsewhere, and say where",
            where="details of a heartbeat",
            size=len(data),
            limit=MOST_DETAILS,
        )
    return data
