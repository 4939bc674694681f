"""An actor's state: the annotated attributes of its class, to JSON and back."""

import copy
import inspect
import sys
import typing
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, get_origin

import msgspec

from aiki.actor.handler import Handler
from aiki.schema import Schema, schema_for
from aiki.types.errors import DefinitionError

__all__ = ["Fields"]


class Fields:
    """The state of one class of actors. Names that begin with an underscore are no part of it, and are lost with the live copy."""

    def __init__(self, cls: type, what: str, scope: Mapping[str, Any] | None) -> None:
        self._cls = cls
        self._where = f"state of {what}"
        self._foreign: dict[str, Schema[Any]] = {}
        fields: list[tuple[str, Any, Any]] = []
        for name, annotation in _annotations(cls, what, scope).items():
            if name.startswith("_") or annotation is ClassVar or get_origin(annotation) is ClassVar:
                continue
            default = inspect.getattr_static(cls, name, msgspec.UNSET)
            if default is msgspec.UNSET:
                raise DefinitionError(f"{what}: its field {name!r} needs a default, the state of an actor nobody has called", where=what)
            if isinstance(default, Handler | classmethod | staticmethod | property):
                continue
            schema = schema_for(annotation, f"field {name!r} of {what}")
            first = schema.encode(default, f"default of field {name!r} of {what}")
            if not hasattr(schema, "annotation") or schema.annotation is not annotation:
                # A type that msgspec does not know stands in the state as JSON of its own.
                self._foreign[name] = schema
                fields.append((name, msgspec.Raw, msgspec.field(default_factory=_raw(first))))
            else:
                fields.append((name, annotation, msgspec.field(default_factory=_copier(default))))
        self._names = tuple(name for name, _, _ in fields)
        self._struct = msgspec.defstruct("State", fields, kw_only=True)
        self._schema: Schema[Any] = schema_for(self._struct, self._where)
        self.fresh = self._schema.encode(self._struct(), self._where)

    def revive(self, data: bytes) -> Any:
        """A live copy."""
        state = self._schema.decode(data, self._where)
        instance: Any = object.__new__(self._cls)
        for name in self._names:
            value = getattr(state, name)
            if name in self._foreign:
                value = self._foreign[name].decode(bytes(value), self._where)
            setattr(instance, name, value)
        return instance

    def freeze(self, instance: Any) -> bytes:
        """What a live copy has become. `PayloadError` when a field does not fit its type."""
        values = {name: getattr(instance, name) for name in self._names}
        for name, schema in self._foreign.items():
            values[name] = msgspec.Raw(schema.encode(values[name], f"field {name!r} in the {self._where}"))
        return self._schema.encode(self._struct(**values), self._where)


def _copier(default: Any) -> Callable[[], Any]:
    return lambda: copy.deepcopy(default)


def _raw(data: bytes) -> Callable[[], msgspec.Raw]:
    return lambda: msgspec.Raw(data)


def _annotations(cls: type, what: str, scope: Mapping[str, Any] | None) -> dict[str, Any]:
    module = sys.modules.get(cls.__module__)
    try:
        return typing.get_type_hints(cls, localns={**(vars(module) if module else {}), **(scope or {})}, include_extras=True)
    except NameError as error:
        raise DefinitionError(
            f"{what}: its annotations cannot be resolved ({error}). Types are read at run time: import them for real.",
            where=what,
        ) from error
