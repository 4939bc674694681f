"""What a class of actors may derive from, so that type checkers know of its `ref`."""

from typing import Any, Self

from aiki.actor.definition import definition_of
from aiki.actor.ref import ActorRef
from aiki.types.duration import Duration

__all__ = ["Actor"]


class Actor:
    """Optional: `@actor` gives any class a `ref`. mypy sees it on classes that derive from this one."""

    @classmethod
    def ref(cls, at: Any, id: str, *, key: str | None = None, timeout: Duration | None = None) -> ActorRef[Self]:
        """The actor of this class with that id. `at`: a `Client`, a workflow's `Context` or an `ActorContext`.

        From a workflow each call is a recorded step (its failure is a `TaskFailed`). From another actor's handler a tell is sent once the
        handler's outcome is stored. `key`: with a client, the calls of this reference are named by it, first to last, and each name is
        applied once: in a task, pass its `idempotency_key`. In a workflow it is the step's idempotency key. `timeout` (30 s; none in a
        workflow) is an ask's.
        """
        return ActorRef(definition_of(cls), at, id, key=key, timeout=timeout)
