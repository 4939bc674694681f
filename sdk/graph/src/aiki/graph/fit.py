"""Does what one node gives fit what the next one takes?

The rule: a value fits a type when every field that the type needs is there and fits. Of a union it is enough that one alternative fits,
since a condition may have narrowed it; what is of any type fits everything. Whatever is left the run checks, which has the value.
"""

from aiki.graph.shape import Shape, alternatives, item_at, rest_of, values_of

__all__ = ["misfit"]


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
    values, wanted = values_of(given), values_of(taken)
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
        one, other = item_at(given, index), item_at(taken, index)
        # The item of a list that may be empty says nothing about whether the empty list fits, yet who declares it means it.
        if one is not None and other is not None and (found := misfit(one, other, f"{path}[{index}]", seen)) is not None:
            return found
    return None


def _fields(given: Shape, taken: Shape, path: str, seen: frozenset[tuple[int, int]]) -> tuple[str, str] | None:
    has, wants = given.schema.get("properties", {}), taken.schema.get("properties", {})
    rest, other = rest_of(given), rest_of(taken)
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
