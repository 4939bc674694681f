"""What a task's body may know of its call."""

import msgspec

from aiki.types.identifiers import RunId

__all__ = ["TaskContext"]


class TaskContext(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt of a task: ask for it with a second parameter, `async def ship(order: Order, task: TaskContext)`.

    `attempt` is 1 for the first. `idempotency_key` is the same for all attempts of this call, whatever happens: pass it on to services that
    take one.
    """

    task: str
    attempt: int
    run_id: RunId
    idempotency_key: str
