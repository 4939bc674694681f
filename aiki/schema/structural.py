"""Payload types that msgspec knows: Structs, dataclasses, TypedDicts, NamedTuples, enums, dates, UUIDs, and plain JSON types."""

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import msgspec

from aiki.types.errors import PayloadError, PayloadTooLarge

__all__ = ["MAX_PAYLOAD", "StructuralSchema", "check_size"]

Value = TypeVar("Value")

MAX_PAYLOAD = 256 * 1024
"""The limit of one payload, in bytes of JSON. A run's state holds several, and NATS takes 1 MiB a message by default."""

_encoder = msgspec.json.Encoder()
_PATH = re.compile(r"(.*?) - at `(.*)`\Z", re.DOTALL)


class StructuralSchema(Generic[Value]):
    """A type that msgspec validates."""

    def __init__(self, annotation: Any) -> None:
        self.annotation = annotation
        self._decoder: msgspec.json.Decoder[Value] = msgspec.json.Decoder(annotation)
        self._instance = annotation if _is_record(annotation) else None

    def encode(self, value: Any, where: str) -> bytes:
        if self._instance is not None and not isinstance(value, self._instance):
            raise _unfit(where, f"expected {self._instance.__qualname__}, got {type(value).__qualname__}", "$")
        try:
            data = _encoder.encode(value)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise _unfit(where, f"it cannot be encoded as JSON: {error}", "$") from error
        check_size(data, where)
        if b"null" in data:
            _refuse_lost_floats(value, where)
        self.decode(data, where)
        return data

    def decode(self, data: bytes, where: str) -> Value:
        try:
            return self._decoder.decode(data)
        except msgspec.ValidationError as error:
            reason, path = _split(str(error))
            raise _unfit(where, reason, path) from error
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise _unfit(where, f"it is not JSON: {error}", "$") from error

    def json_schema(self) -> dict[str, Any]:
        return msgspec.json.schema(self.annotation)


def check_size(data: bytes, where: str) -> None:
    """Raise `PayloadTooLarge` when `data` is over `MAX_PAYLOAD`."""
    if len(data) > MAX_PAYLOAD:
        raise PayloadTooLarge(
            f"{where} is {len(data):,} bytes of JSON; the limit is {MAX_PAYLOAD:,}. Store large data elsewhere and pass a reference.",
            where=where,
            size=len(data),
            limit=MAX_PAYLOAD,
            path="$",
            reason="too large",
        )


def _is_record(annotation: Any) -> bool:
    return isinstance(annotation, type) and (issubclass(annotation, msgspec.Struct) or dataclasses.is_dataclass(annotation))


def _split(text: str) -> tuple[str, str]:
    match = _PATH.match(text)
    return (match[1], match[2]) if match else (text, "$")


def _unfit(where: str, reason: str, path: str) -> PayloadError:
    at = "" if path == "$" else f" at {path}"
    return PayloadError(f"{where} does not fit its type{at}: {reason}", where=where, path=path, reason=reason)


def _refuse_lost_floats(value: Any, where: str) -> None:
    """JSON has no NaN or infinity, and msgspec writes null for them: refuse rather than lose."""
    seen: set[int] = set()
    stack: list[tuple[Any, str]] = [(value, "$")]
    while stack:
        item, path = stack.pop()
        if isinstance(item, float):
            if not math.isfinite(item):
                raise _unfit(where, f"JSON has no {item}", path)
            continue
        if item is None or isinstance(item, str | bytes | int) or id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, Mapping):
            stack.extend((member, f"{path}[{key!r}]") for key, member in item.items())
        elif isinstance(item, list | tuple | set | frozenset):
            stack.extend((member, f"{path}[{index}]") for index, member in enumerate(item))
        elif isinstance(item, msgspec.Struct):
            stack.extend((getattr(item, name), f"{path}.{name}") for name in item.__struct_fields__)
        elif dataclasses.is_dataclass(item):
            stack.extend((getattr(item, field.name), f"{path}.{field.name}") for field in dataclasses.fields(item))
