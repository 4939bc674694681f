"""What is known of a value before there is one: a JSON Schema, and how one reaches into it."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from aiki.schema import Schema

__all__ = [
    "ANY",
    "BOOLEAN",
    "Shape",
    "alternatives",
    "field",
    "item_at",
    "items",
    "kinds",
    "of_items",
    "of_object",
    "of_schema",
    "of_value",
    "rest_of",
    "union",
    "values_of",
]

_SCALARS = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}


class Shape(NamedTuple):
    """A JSON Schema whose parts may be shapes, and the document that its `$ref`s point into."""

    schema: Any
    root: Any = None

    def part(self, schema: Any) -> "Shape":
        """A part of it."""
        return schema if isinstance(schema, Shape) else Shape(schema, self.root)


ANY = Shape({})
BOOLEAN = Shape({"type": "boolean"})


def of_schema(schema: Schema[Any]) -> Shape:
    """Of a payload type. A type that has no JSON Schema may be anything."""
    try:
        document = schema.json_schema()
    except Exception:  # pydantic and msgspec each have errors of their own for it
        return ANY
    return Shape(document, document)


def of_value(value: Any) -> Shape:
    """Of a JSON value."""
    if isinstance(value, dict):
        return of_object({key: of_value(member) for key, member in value.items()})
    if isinstance(value, list):
        return of_items([of_value(member) for member in value])
    return Shape({"type": _SCALARS[type(value)], "enum": [value]})


def of_object(fields: Mapping[str, Shape]) -> Shape:
    """Of an object with exactly these fields."""
    return Shape({"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False})


def of_items(items: list[Shape]) -> Shape:
    """Of a list with exactly these items."""
    return Shape({"type": "array", "prefixItems": items, "items": False, "minItems": len(items), "maxItems": len(items)})


def union(shapes: list[Shape]) -> Shape:
    """Any of them."""
    return shapes[0] if len(shapes) == 1 else Shape({"anyOf": shapes})


def alternatives(shape: Shape, depth: int = 0) -> Iterator[tuple[str, Shape]]:
    """The shape's alternatives, each of one kind: a JSON type, or "any"."""
    schema = shape.schema
    if not isinstance(schema, Mapping) or depth > 20:
        yield "any", ANY
    elif isinstance(reference := schema.get("$ref"), str):
        yield from alternatives(shape.part(_definition(shape.root, reference)), depth + 1)
    elif union := schema.get("anyOf") or schema.get("oneOf"):
        for each in union:
            yield from alternatives(shape.part(each), depth + 1)
    elif len(every := schema.get("allOf", ())) == 1:
        yield from alternatives(shape.part(every[0]), depth + 1)
    elif isinstance(kind := schema.get("type"), str):
        yield kind, shape
    elif kind is not None:
        for each in kind:
            yield each, shape
    elif values := values_of(shape):
        for each in dict.fromkeys(_SCALARS.get(type(value), "any") for value in values):
            yield each, shape
    else:
        yield "any", shape


def _definition(root: Any, reference: str) -> Any:
    found = root
    for part in reference.removeprefix("#").split("/")[1:]:
        found = found.get(part.replace("~1", "/").replace("~0", "~"), {}) if isinstance(found, Mapping) else {}
    return found


def values_of(shape: Shape) -> list[Any] | None:
    """Those that it may have, when they are counted."""
    if "const" in shape.schema:
        return [shape.schema["const"]]
    values = shape.schema.get("enum")
    return None if values is None else list(values)


def kinds(shape: Shape) -> set[str]:
    """The JSON types that it may be."""
    return {kind for kind, _ in alternatives(shape)}


def field(shape: Shape, key: str | int) -> Shape | str:
    """The shape of a field or item, or why there is none."""
    found: list[Shape] = []
    known: list[str] = []
    for kind, each in alternatives(shape):
        if kind == "any":
            return ANY
        if kind == "object" and isinstance(key, str):
            properties = each.schema.get("properties", {})
            known += properties
            if key in properties:
                found.append(each.part(properties[key]))
            elif (rest := rest_of(each)) is not None:
                found.append(rest)
        elif kind == "array" and isinstance(key, int) and (part := item_at(each, key)) is not None:
            found.append(part)
    if found:
        return union(found)
    what = f"no field {key!r}" if isinstance(key, str) else f"no item {key}"
    has = f"an object with {', '.join(known)}" if known else " or ".join(sorted(kinds(shape)))
    return f"{what}: it is {has}"


def rest_of(shape: Shape) -> Shape | None:
    """Of fields that are not declared; None: there are no others."""
    rest = shape.schema.get("additionalProperties", "properties" not in shape.schema)
    return None if rest is False else ANY if rest is True else shape.part(rest)


def item_at(shape: Shape, index: int) -> Shape | None:
    """Of one item of a list; None: there is none."""
    first = shape.schema.get("prefixItems", ())
    if index < 0 and first and shape.schema.get("items") is False:
        index += len(first)
    if 0 <= index < len(first):
        return shape.part(first[index])
    rest = shape.schema.get("items", True)
    return None if rest is False else ANY if rest is True else shape.part(rest)


def items(shape: Shape) -> Shape | None:
    """What the items of a list are; None: it is no list."""
    found: list[Shape] = []
    for kind, each in alternatives(shape):
        if kind == "any":
            return ANY
        if kind == "array":
            found += [each.part(part) for part in each.schema.get("prefixItems", ())]
            rest = each.schema.get("items", True)
            if rest is not False:
                found.append(ANY if rest is True else each.part(rest))
            elif not found:
                return ANY
    return union(found) if found else None
