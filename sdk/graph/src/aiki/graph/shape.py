"""What is known of a value before there is one: a JSON Schema. Does what one node gives fit what the next one takes?

The rule: a value fits a type when every field that the type needs is there and fits. Of a union it is enough that one alternative fits,
since a condition may have narrowed it; what is of any type fits everything. Whatever is left the run checks, which has the value.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from aiki.schema import Schema

__all__ = [
    "ANY",
    "BOOLEAN",
    "Shape",
    "alternatives",
    "field",
    "items",
    "kinds",
    "misfit",
    "of_items",
    "of_object",
    "of_schema",
    "of_value",
    "union",
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
    elif values := _values(shape):
        for each in dict.fromkeys(_SCALARS.get(type(value), "any") for value in values):
            yield each, shape
    else:
        yield "any", shape


def _definition(root: Any, reference: str) -> Any:
    found = root
    for part in reference.removeprefix("#").split("/")[1:]:
        found = found.get(part.replace("~1", "/").replace("~0", "~"), {}) if isinstance(found, Mapping) else {}
    return found


def _values(shape: Shape) -> list[Any] | None:
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
            elif (rest := _rest(each)) is not None:
                found.append(rest)
        elif kind == "array" and isinstance(key, int) and (part := _item(each, key)) is not None:
            found.append(part)
    if found:
        return union(found)
    what = f"no field {key!r}" if isinstance(key, str) else f"no item {key}"
    has = f"an object with {', '.join(known)}" if known else " or ".join(sorted(kinds(shape)))
    return f"{what}: it is {has}"


def _rest(shape: Shape) -> Shape | None:
    """Of fields that are not declared; None: there are no others."""
    rest = shape.schema.get("additionalProperties", "properties" not in shape.schema)
    return None if rest is False else ANY if rest is True else shape.part(rest)


def _item(shape: Shape, index: int) -> Shape | None:
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


def misfit(given: Shape, taken: Shape, path: str = "$", seen: frozenset[tuple[int, int]] = frozenset()) -> tuple[str, str] | None:
    """Where and why no value of `given` can be one of `taken`; None when one may."""
    pair = (id(given.schema), id(taken.schema))
    if pair in seen:
        return None
    seen = seen | {pair}
    wrong: list[tuple[str, str]] = []
    gives, takes = list(alternatives(given)), list(alternatives(taken))
    for kind, one in gives:
        for wanted, other in takes:
            if "any" in (kind, wanted):
                return None
            if kind == wanted or (kind, wanted) == ("integer", "number"):
                found = _unequal(one, other, path) or _members(kind, one, other, path, seen)
                if found is None:
                    return None
                wrong.append(found)
    if not wrong:
        wrong.append((path, f"expected {_named(takes)}, got {_named(gives)}"))
    return max(wrong, key=lambda each: len(each[0]))


def _named(shapes: list[tuple[str, Shape]]) -> str:
    return " or ".join(dict.fromkeys(kind for kind, _ in shapes))


def _unequal(given: Shape, taken: Shape, path: str) -> tuple[str, str] | None:
    values, wanted = _values(given), _values(taken)
    if (
        values is not None
        and wanted is not None
        and not any(type(one) is type(other) and one == other for one in values for other in wanted)
    ):
        return path, f"expected one of {', '.join(map(repr, wanted))}, got {' or '.join(map(repr, values))}"
    one, other = given.schema.get("format"), taken.schema.get("format")
    if one is not None and other is not None and one != other:
        return path, f"expected a {other}, got a {one}"
    return None


def _members(kind: str, given: Shape, taken: Shape, path: str, seen: frozenset[tuple[int, int]]) -> tuple[str, str] | None:
    if kind == "object":
        return _fields(given, taken, path, seen)
    if kind != "array":
        return None
    first, wanted = given.schema.get("prefixItems", ()), taken.schema.get("prefixItems", ())
    if (least := taken.schema.get("minItems", 0)) > (most := given.schema.get("maxItems", least)):
        return path, f"expected at least {least} items, got {most}"
    if (least := given.schema.get("minItems", 0)) > (most := taken.schema.get("maxItems", least)):
        return path, f"expected at most {most} items, got {least}"
    for index in range(max(len(first), len(wanted), 1)):
        one, other = _item(given, index), _item(taken, index)
        # The item of a list that may be empty says nothing about whether the empty list fits, yet who declares it means it.
        if one is not None and other is not None and (found := misfit(one, other, f"{path}[{index}]", seen)) is not None:
            return found
    return None


def _fields(given: Shape, taken: Shape, path: str, seen: frozenset[tuple[int, int]]) -> tuple[str, str] | None:
    has, wants = given.schema.get("properties", {}), taken.schema.get("properties", {})
    rest, other = _rest(given), _rest(taken)
    for name in taken.schema.get("required", ()):
        if name in has:
            continue
        if rest is None:
            return path, f"missing field {name!r}"
        if (found := misfit(rest, taken.part(wants.get(name, True)), f"{path}.{name}", seen)) is not None:
            return found
    for name, part in has.items():
        if name in wants:
            found = misfit(given.part(part), taken.part(wants[name]), f"{path}.{name}", seen)
        elif taken.schema.get("additionalProperties") is False:
            found = (path, f"unknown field {name!r}") if name in given.schema.get("required", ()) else None
        else:
            found = misfit(given.part(part), other, f"{path}.{name}", seen) if other is not None else None
        if found is not None:
            return found
    return None
