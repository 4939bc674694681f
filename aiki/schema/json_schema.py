"""Does a JSON value fit a JSON Schema? For those schemas that payload types have: what msgspec and pydantic write.

Used where the type itself is not at hand: whoever takes a webhook's answer has its schema alone. Keywords that are not known here are
not checked; the run, which has the type, checks again.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any
from uuid import UUID

import msgspec

from aiki.types.errors import PayloadError

__all__ = ["check_fits"]

_TYPES: dict[str, Callable[[Any], bool]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "string": lambda value: isinstance(value, str),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}
_FORMATS: dict[str, Any] = {"date-time": datetime, "date": date, "time": time, "duration": timedelta, "uuid": UUID}
_MOST_DEPTH = 200


def check_fits(value: Any, schema: Mapping[str, Any], where: str) -> None:
    """Raise `PayloadError`, with the path of what does not fit."""
    found = _Check(schema).misfit(value, schema, "$", 0)
    if found is not None:
        path, reason = found
        at = "" if path == "$" else f" at {path}"
        raise PayloadError(f"{where} does not fit its type{at}: {reason}", where=where, path=path, reason=reason)


Misfit = tuple[str, str]
"""Where, and why."""


class _Check:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root

    def misfit(self, value: Any, schema: Any, path: str, depth: int) -> Misfit | None:
        if not isinstance(schema, Mapping):
            return (path, "nothing is allowed here") if schema is False else None
        if depth > _MOST_DEPTH:
            return path, "it is nested too deeply"
        reference = schema.get("$ref")
        if isinstance(reference, str) and (found := self.misfit(value, self._definition(reference), path, depth + 1)) is not None:
            return found
        return (
            _plain(value, schema, path)
            or self._combined(value, schema, path, depth)
            or (self._object(value, schema, path, depth) if isinstance(value, dict) else None)
            or (self._array(value, schema, path, depth) if isinstance(value, list) else None)
        )

    def _definition(self, reference: str) -> Any:
        found: Any = self._root
        for part in reference.removeprefix("#").split("/")[1:]:
            found = found.get(part.replace("~1", "/").replace("~0", "~"), {}) if isinstance(found, Mapping) else {}
        return found

    def _combined(self, value: Any, schema: Mapping[str, Any], path: str, depth: int) -> Misfit | None:
        for each in schema.get("allOf", ()):
            if (found := self.misfit(value, each, path, depth + 1)) is not None:
                return found
        for keyword in ("anyOf", "oneOf"):
            alternatives = schema.get(keyword, ())
            misfits = [wrong for each in alternatives if (wrong := self.misfit(value, each, path, depth + 1)) is not None]
            if misfits and len(misfits) == len(alternatives):
                # The alternative that fits furthest says best what is wrong.
                return max(misfits, key=lambda misfit: len(misfit[0]))
        return None

    def _object(self, value: dict[str, Any], schema: Mapping[str, Any], path: str, depth: int) -> Misfit | None:
        missing = [name for name in schema.get("required", ()) if name not in value]
        if missing:
            return path, f"missing required field `{missing[0]}`"
        known = schema.get("properties", {})
        for name, member in value.items():
            if (
                found := self.misfit(member, known.get(name, schema.get("additionalProperties", True)), f"{path}.{name}", depth + 1)
            ) is not None:
                return found
        return _bounds(len(value), schema, "minProperties", "maxProperties", path, "fields")

    def _array(self, value: list[Any], schema: Mapping[str, Any], path: str, depth: int) -> Misfit | None:
        first: Sequence[Any] = schema.get("prefixItems", ())
        for index, member in enumerate(value):
            expected = first[index] if index < len(first) else schema.get("items", True)
            if (found := self.misfit(member, expected, f"{path}[{index}]", depth + 1)) is not None:
                return found
        return _bounds(len(value), schema, "minItems", "maxItems", path, "items")


def _plain(value: Any, schema: Mapping[str, Any], path: str) -> Misfit | None:
    kinds = schema.get("type", ())
    kinds = (kinds,) if isinstance(kinds, str) else kinds
    if kinds and not any(_TYPES.get(kind, lambda _: True)(value) for kind in kinds):
        return path, f"expected {' or '.join(kinds)}, got {_kind(value)}"
    if "const" in schema and not _same(value, schema["const"]):
        return path, f"expected {schema['const']!r}"
    if "enum" in schema and not any(_same(value, each) for each in schema["enum"]):
        return path, f"expected one of {', '.join(map(repr, schema['enum']))}"
    if isinstance(value, str):
        return _text(value, schema, path)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _number(value, schema, path)
    return None


def _text(value: str, schema: Mapping[str, Any], path: str) -> Misfit | None:
    if (pattern := schema.get("pattern")) is not None and re.search(pattern, value) is None:
        return path, f"expected text that matches {pattern!r}"
    if (kind := _FORMATS.get(schema.get("format", ""))) is not None:
        try:
            msgspec.convert(value, kind)
        except msgspec.ValidationError:
            return path, f"expected a {schema['format']}"
    return _bounds(len(value), schema, "minLength", "maxLength", path, "characters")


def _number(value: float, schema: Mapping[str, Any], path: str) -> Misfit | None:
    if not math.isfinite(value):
        return path, f"JSON has no {value}"
    for keyword, fits in (
        ("minimum", lambda bound: value >= bound),
        ("exclusiveMinimum", lambda bound: value > bound),
        ("maximum", lambda bound: value <= bound),
        ("exclusiveMaximum", lambda bound: value < bound),
        ("multipleOf", lambda bound: math.isclose(value / bound, round(value / bound), abs_tol=1e-9)),
    ):
        if keyword in schema and not fits(schema[keyword]):
            return path, f"expected a number with {keyword} {schema[keyword]}"
    return None


def _bounds(size: int, schema: Mapping[str, Any], least: str, most: str, path: str, what: str) -> Misfit | None:
    if size < schema.get(least, 0):
        return path, f"expected at least {schema[least]} {what}"
    if size > schema.get(most, size):
        return path, f"expected at most {schema[most]} {what}"
    return None


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)


def _kind(value: Any) -> str:
    return next(name for name, fits in _TYPES.items() if fits(value))
