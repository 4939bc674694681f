"""The shape of a term: what is known of its value before there is one."""

from collections.abc import Mapping
from typing import NamedTuple

from aiki.graph import shape
from aiki.graph.expression import shown
from aiki.graph.shape import ANY, BOOLEAN, Shape
from aiki.graph.term import Array, Constant, Get, Input, Object, Operation, Output, Term

__all__ = ["Mistake", "Shapes", "infer"]

_ORDERED = ({"integer", "number"}, {"string"})


class Mistake(Exception):
    """A term that can have no value."""


class Shapes(NamedTuple):
    """Of what terms refer to. `item` is None where there is none."""

    input: Shape
    outputs: Mapping[str, Shape]
    item: Shape | None = None


def infer(term: Term, shapes: Shapes) -> Shape:
    """The term's shape. Raises `Mistake`."""
    if isinstance(term, Constant):
        return shape.of_value(term.value)
    if isinstance(term, Input):
        return shapes.input
    if isinstance(term, Output):
        return shapes.outputs[term.node]
    if isinstance(term, Get):
        found = shape.field(infer(term.of, shapes), term.key)
        if isinstance(found, str):
            raise Mistake(f"{shown(term.of)} has {found}")
        return found
    if isinstance(term, Object):
        return shape.of_object({key: infer(part, shapes) for key, part in term.fields.items()})
    if isinstance(term, Array):
        return shape.of_items([infer(part, shapes) for part in term.items])
    if isinstance(term, Operation):
        return _operation(term, [infer(part, shapes) for part in term.terms])
    if shapes.item is None:
        raise Mistake("`item` means something in the `input=` of a node with `each=` only")
    return shapes.item


def _operation(term: Operation, parts: list[Shape]) -> Shape:
    name = term.operator
    if name == "otherwise":
        return shape.union([_without_null(parts[0]), parts[1]])
    if name in ("and", "or", "not"):
        for part, each in zip(term.terms, parts, strict=True):
            if not shape.kinds(each) & {"boolean", "any"}:
                raise Mistake(f"{shown(part)} is {_named(each)}, neither true nor false")
    elif name == "in":
        if not shape.kinds(parts[1]) & {"array", "any"}:
            raise Mistake(f"is_in takes a list, and {shown(term.terms[1])} is {_named(parts[1])}")
    elif name not in ("eq", "ne") and not _have_order(*parts):
        one, other = map(_named, parts)
        raise Mistake(f"{shown(term)} compares {one} with {other}: only numbers, and only texts, have an order")
    return BOOLEAN


def _have_order(one: Shape, other: Shape) -> bool:
    left, right = shape.kinds(one), shape.kinds(other)
    return any((left & {*order, "any"}) and (right & {*order, "any"}) for order in _ORDERED)


def _without_null(given: Shape) -> Shape:
    left = [each for kind, each in shape.alternatives(given) if kind != "null"]
    return shape.union(left) if left else ANY


def _named(given: Shape) -> str:
    return " or ".join(sorted(shape.kinds(given)))
