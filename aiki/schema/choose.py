"""From an annotation to its schema."""

import functools
import sys
import typing
from typing import Any

import msgspec

from aiki.schema.port import Schema
from aiki.schema.structural import StructuralSchema
from aiki.types.errors import DefinitionError

__all__ = ["schema_for"]


def schema_for(annotation: Any, where: str) -> Schema[Any]:
    """The schema of a payload type; `DefinitionError` when values of it cannot be validated and sent."""
    try:
        return _cached(annotation, where)
    except TypeError:  # unhashable annotation
        return _build(annotation, where)


@functools.lru_cache(maxsize=2048)
def _cached(annotation: Any, where: str) -> Schema[Any]:
    return _build(annotation, where)


def _build(annotation: Any, where: str) -> Schema[Any]:
    if annotation is None:
        annotation = type(None)
    if _mentions_pydantic(annotation, set()):
        from aiki.schema.pydantic import PydanticSchema

        return PydanticSchema(annotation, where)
    try:
        unknown = _unknown(msgspec.inspect.type_info(annotation), set())
        if unknown is None:
            return StructuralSchema(annotation)
    except (TypeError, ValueError, NameError) as error:
        raise DefinitionError(f"{where} cannot be of type {annotation!r}: {error}", where=where) from error
    raise DefinitionError(
        f"{where} cannot be of type {annotation!r}: values of {unknown.__qualname__} cannot be validated or sent. "
        "Use a msgspec.Struct, dataclass, TypedDict, pydantic model or plain JSON types.",
        where=where,
    )


def _mentions_pydantic(annotation: Any, seen: set[int]) -> bool:
    pydantic = sys.modules.get("pydantic")
    if pydantic is None or id(annotation) in seen:
        return False
    seen.add(id(annotation))
    if isinstance(annotation, type) and (issubclass(annotation, pydantic.BaseModel) or hasattr(annotation, "__pydantic_validator__")):
        return True
    return any(_mentions_pydantic(argument, seen) for argument in typing.get_args(annotation))


def _unknown(info: Any, seen: set[int]) -> type | None:
    """The first class in a msgspec type description that msgspec itself cannot handle."""
    if id(info) in seen:
        return None
    seen.add(id(info))
    if isinstance(info, msgspec.inspect.CustomType):
        return info.cls
    if isinstance(info, msgspec.inspect.RawType):
        return None
    for name in getattr(info, "__struct_fields__", ()):
        value = getattr(info, name)
        for member in value if isinstance(value, tuple) else (value,):
            if isinstance(member, msgspec.inspect.Type | msgspec.inspect.Field) and (found := _unknown(member, seen)):
                return found
    return None
