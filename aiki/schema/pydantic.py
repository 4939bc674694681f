"""Payload types that hold pydantic models. The only module that imports pydantic, and only once a model is declared."""

from typing import Any, Generic, TypeVar

from pydantic import PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from aiki.schema.structural import check_size, refuse_lost_floats
from aiki.types.errors import DefinitionError, PayloadError

__all__ = ["PydanticSchema"]

Value = TypeVar("Value")


class PydanticSchema(Generic[Value]):
    """A type that pydantic validates."""

    def __init__(self, annotation: Any, where: str) -> None:
        try:
            self._adapter: TypeAdapter[Value] = TypeAdapter(annotation)
        except PydanticUserError as error:
            raise DefinitionError(f"{where} cannot be of type {annotation!r}: {error.message}", where=where) from error

    def encode(self, value: Any, where: str, *, large: bool = False) -> bytes:
        try:
            valid = self._adapter.validate_python(value, strict=True)
            data = self._adapter.dump_json(valid)
            check_size(data, where, large=large)
            if b"null" in data:
                refuse_lost_floats(self._adapter.dump_python(valid), where)
            self._adapter.validate_json(data)
        except ValidationError as error:
            raise _unfit(error, where) from error
        except PayloadError:
            raise
        except (PydanticSerializationError, ValueError, RecursionError) as error:
            raise PayloadError(f"{where} cannot be encoded as JSON: {error}", where=where, path="$", reason=str(error)) from error
        return data

    def decode(self, data: bytes, where: str) -> Value:
        try:
            return self._adapter.validate_json(data)
        except ValidationError as error:
            raise _unfit(error, where) from error

    def json_schema(self) -> dict[str, Any]:
        return self._adapter.json_schema()


def _unfit(error: ValidationError, where: str) -> PayloadError:
    first = error.errors(include_url=False, include_input=False)[0]
    path = "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
    at = "" if path == "$" else f" at {path}"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return PayloadError(f"{where} does not fit its type{at}: {first['msg']}{more}", where=where, path=path, reason=first["msg"])
