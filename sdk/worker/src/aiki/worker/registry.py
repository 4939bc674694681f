"""What a worker serves."""

from typing import Any, Self

from aiki.actor.decorator import ActorType
from aiki.actor.definition import ActorDefinition, definition_of, is_actor
from aiki.task import Task
from aiki.types.errors import DefinitionError
from aiki.workflow import Workflow

__all__ = ["Registry"]


class Registry:
    """Workflows, tasks and actors, added one by one. What a workflow calls is not implied: a task runs where it is registered."""

    def __init__(self) -> None:
        self.workflows: dict[tuple[str, str], Workflow[Any, Any]] = {}
        self.tasks: dict[str, Task[Any, Any, ..., Any]] = {}
        self.actors: dict[str, ActorDefinition] = {}
        self._closed = False

    def close(self) -> None:
        """The worker has started: what is added now would not be served."""
        self._closed = True

    def add(self, definition: Workflow[Any, Any] | Task[Any, Any, ..., Any] | type[Any] | ActorType[Any]) -> Self:
        """Serve a workflow's version, a task or a class of actors. Another of that name is a `DefinitionError`."""
        if self._closed:
            raise DefinitionError(f"{definition!r} comes too late: the worker has started. Add everything before.", where="registry")
        if isinstance(definition, Workflow):
            key = (definition.name, definition.version)
            if self.workflows.setdefault(key, definition) is not definition:
                raise DefinitionError(f"workflow {definition.name!r} version {definition.version!r} is registered twice", where="registry")
        elif isinstance(definition, Task):
            if self.tasks.setdefault(definition.name, definition) is not definition:
                raise DefinitionError(f"task {definition.name!r} is registered twice", where="registry")
        elif is_actor(definition):
            found = definition_of(definition)
            if self.actors.setdefault(found.name, found) is not found:
                raise DefinitionError(f"actor {found.name!r} is registered twice", where="registry")
        else:
            raise DefinitionError(
                f"only workflows, tasks and actors can be registered, not {definition!r}: is its decorator missing?", where="registry"
            )
        return self
