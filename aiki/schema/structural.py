"""Payload types that msgspec knows: Structs, dataclasses, TypedDicts, NamedTuples, enums, dates, UUIDs, and plain JSON types."""

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

import msgspec

from aiki.schema.claim import is_claim, largest_payload
from aiki.types.errors import PayloadError, PayloadTooLarge

__all__ = ["MAX_PAYLOAD", "StructuralSchema", "check_size", "refuse_lost_floats"]

Value = TypeVar("Value")

MAX_PAYLOAD = 256 * 1024
"""The limit of a payload that is part of a message, in bytes of JSON: NATS takes 1 MiB a message by default."""

_encoder = msgspec.json.Encoder()
_sorting = msgspec.json.Encoder(order="deterministic")
_PATH = re.compile(r"(.*?) - at `(.*)`\Z", re.DOTALL)


class StructuralSchema(Generic[Value]):
    """A type that msgspec validates."""

    def __init__(self, annotation: Any) -> None:
        self.annotation = annotation
        self._decoder: msgspec.json.Decoder[Value] = msgspec.json.Decoder(annotation)
        self._instance = annotation if _is_record(annotation) else None
        self._may_hold_sets = _mentions_sets(msgspec.inspect.type_info(annotation), set())

    def encode(self, value: Any, where: str, *, large: bool = False) -> bytes:
        if self._instance is not None and not isinstance(value, self._instance):
            raise _unfit(where, f"expected {self._instance.__qualname__}, got {type(value).__qualname__}", "$")
        try:
            data = _encoder.encode(value)
            if self._may_hold_sets and b"[" in data and _holds_set(value):
                # The order of a set is the process's own, and content addresses are made from these bytes.
                data = _sorting.encode(value)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise _unfit(where, f"it cannot be encoded as JSON: {error}", "$") from error
        check_size(data, where, large=large)
        if b"null" in data:
            refuse_lost_floats(value, where)
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


def check_size(data: bytes, where: str, *, large: bool = False) -> None:
    """Raise `PayloadTooLarge` when `data` is over its limit: `MAX_PAYLOAD`, or that of payloads in the blob store (`large`)."""
    if large:
        if len(data) <= MAX_PAYLOAD:
            return
        limit, advice = largest_payload(), "$AIKI_MAX_PAYLOAD sets it; larger data belongs elsewhere, with a reference as payload."
    else:
        if is_claim(data):
            raise _unfit(where, 'an object whose first field is "$aiki.claim" stands for a large payload, and cannot travel here', "$")
        limit, advice = MAX_PAYLOAD, "Store large data elsewhere and pass a reference."
    if len(data) > limit:
        raise PayloadTooLarge(
            f"{where} is {len(data):,} bytes of JSON; the limit is {limit:,}. {advice}",
            where=where,
            size=len(data),
            limit=limit,
            path="$",
            reason="too large",
        )


def _is_record(annotation: Any) -> bool:
    return isinstance(annotation, type) and (issubclass(annotation, msgspec.Struct) or dataclasses.is_dataclass(annotation))


def _mentions_sets(info: Any, seen: set[int]) -> bool:
    if id(info) in seen:
        return False
    seen.add(id(info))
    if isinstance(info, msgspec.inspect.SetType | msgspec.inspect.FrozenSetType | msgspec.inspect.AnyType):
        return True
    parts = [getattr(info, name) for name in getattr(info, "__struct_fields__", ())]
    members = [member for part in parts for member in (part if isinstance(part, tuple) else (part,))]
    return any(isinstance(member, msgspec.inspect.Type | msgspec.inspect.Field) and _mentions_sets(member, seen) for member in members)


def _split(text: str) -> tuple[str, str]:
    match = _PATH.match(text)
    return (match[1], match[2]) if match else (text, "$")


def _unfit(where: str, reason: str, path: str) -> PayloadError:
    at = "" if path == "$" else f" at {path}"
    return PayloadError(f"{where} does not fit its type{at}: {reason}", where=where, path=path, reason=reason)


def refuse_lost_floats(value: Any, where: str) -> None:
    """JSON has no NaN or infinity, and encoders write null for them: refuse rather than lose."""
    for item, path in _members(value):
        if isinstance(item, float) and not math.isfinite(item):
            raise _unfit(where, f"JSON has no {item}", path)


def _holds_set(value: Any) -> bool:
    return any(isinstance(item, set | frozenset) and len(item) > 1 for item, _ in _members(value))


def _members(value: Any) -> Iterator[tuple[Any, str]]:
    """A value and all that it is made of, with their paths."""
    seen: set[int] = set()
    stack: list[tuple[Any, str]] = [(value, "$")]
    while stack:
        item, path = stack.pop()
        yield item, path
        if item is None or isinstance(item, str | bytes | int | float) or id(item) in seen:
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
