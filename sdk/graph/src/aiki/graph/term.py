"""Terms: what expressions are made of. Plain data, to JSON and back."""

from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

import msgspec

__all__ = ["Array", "Constant", "Get", "Input", "Item", "Object", "Operation", "Operator", "Output", "Term", "members", "nodes_of"]

Operator = Literal["eq", "ne", "lt", "le", "gt", "ge", "in", "and", "or", "not", "otherwise"]


class Constant(msgspec.Struct, frozen=True, tag_field="kind", tag="constant"):
    """A JSON value."""

    value: Any


class Input(msgspec.Struct, frozen=True, tag_field="kind", tag="input"):
    """The graph's input."""


class Item(msgspec.Struct, frozen=True, tag_field="kind", tag="item"):
    """The item of a fan-out."""


class Output(msgspec.Struct, frozen=True, tag_field="kind", tag="output"):
    """The output of a node."""

    node: str


class Get(msgspec.Struct, frozen=True, tag_field="kind", tag="get"):
    """A field of an object, or an item of a list; from its end when negative."""

    of: "Term"
    key: str | int


class Object(msgspec.Struct, frozen=True, tag_field="kind", tag="object"):
    """An object made of terms."""

    fields: dict[str, "Term"]


class Array(msgspec.Struct, frozen=True, tag_field="kind", tag="array"):
    """A list made of terms."""

    items: tuple["Term", ...]


class Operation(msgspec.Struct, frozen=True, tag_field="kind", tag="operation"):
    """An operator and what it works on."""

    operator: Operator
    terms: tuple["Term", ...]


Term: TypeAlias = Constant | Input | Item | Output | Get | Object | Array | Operation


def members(term: Term) -> Iterator[Term]:
    """A term and all that it is made of."""
    yield term
    parts: tuple[Term, ...] = ()
    if isinstance(term, Get):
        parts = (term.of,)
    elif isinstance(term, Object):
        parts = tuple(term.fields.values())
    elif isinstance(term, Array):
        parts = term.items
    elif isinstance(term, Operation):
        parts = term.terms
    for part in parts:
        yield from members(part)


def nodes_of(term: Term) -> tuple[str, ...]:
    """The nodes that it refers to, each once, in order."""
    return tuple(dict.fromkeys(part.node for part in members(term) if isinstance(part, Output)))
