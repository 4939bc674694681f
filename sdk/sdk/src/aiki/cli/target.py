"""What a worker is told to serve: `module`, `path/to/file.py`, or either with `:name` of something in it."""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from aiki.actor.definition import is_actor
from aiki.task import Task
from aiki.types.errors import AikiError, DefinitionError
from aiki.worker import Registry
from aiki.workflow import Workflow

__all__ = ["collect"]


def collect(targets: tuple[str, ...], registry: Registry) -> None:
    """Register what the targets name: all workflows, tasks and actors among a module's globals, or what is named after a colon.

    Modules are looked up in the working directory first. Raises `DefinitionError`: nothing there, or nothing to serve.
    """
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    for target in targets:
        place, _, name = target.partition(":")
        module = _load(place)
        if name:
            _add_named(registry, module, name, target)
        else:
            _add_all(registry, module, target)


def _load(place: str) -> ModuleType:
    try:
        if place.endswith(".py"):
            return _load_file(Path(place))
        return importlib.import_module(place)
    except AikiError:
        raise
    except Exception as error:
        raise DefinitionError(f"{place!r} cannot be imported: {type(error).__name__}: {error}", where=place) from error


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise DefinitionError(f"there is no file {str(path)!r}", where=str(path))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None, "a .py file has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent.resolve()))
    sys.modules[path.stem] = module  # types are resolved by their module's name
    spec.loader.exec_module(module)
    return module


def _add_named(registry: Registry, module: ModuleType, name: str, target: str) -> None:
    found: Any = getattr(module, name, None)
    if isinstance(found, Registry):
        for workflow in found.workflows.values():
            registry.add(workflow)
        for task in found.tasks.values():
            registry.add(task)
        for actor in found.actors.values():
            registry.add(actor.cls)
    elif _is_definition(found):
        registry.add(found)
    else:
        what = f"is a {type(found).__name__}" if hasattr(module, name) else "does not exist"
        raise DefinitionError(f"{target!r} must be a Registry, a workflow, a task or an actor, but {what}", where=target)


def _add_all(registry: Registry, module: ModuleType, target: str) -> None:
    found = [value for value in vars(module).values() if _is_definition(value)]
    if not found:
        raise DefinitionError(f"module {target!r} has no workflow, no task and no actor among its globals", where=target)
    for definition in found:
        registry.add(definition)


def _is_definition(value: Any) -> bool:
    return isinstance(value, Workflow | Task) or is_actor(value)
