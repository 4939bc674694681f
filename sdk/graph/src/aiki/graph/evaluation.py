"""The value of a term, from plain JSON values. Pure, and the same at each replay."""

import operator
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from aiki.graph.expression import shown
from aiki.graph.term import Array, Constant, Get, Input, Item, Object, Operation, Output, Term

__all__ = ["Absent", "Scope", "Unfit", "evaluate"]


class Absent(Exception):
    """There is no such value. `node`: the one that has no output; None when it is a field or item that is not there."""

    def __init__(self, reason: str, *, node: str | None = None) -> None:
        super().__init__(reason)
        self.node = node


class Unfit(Exception):
    """An operator was given what it does not work on."""


class Scope(NamedTuple):
    """What there is. `lenient`: the nodes whose outputs are null when they are not there."""

    input: Any
    outputs: Mapping[str, Any]
    item: Any = None
    lenient: Collection[str] = ()


_ORDER: dict[str, Callable[[Any, Any], bool]] = {"lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge}


def evaluate(term: Term, scope: Scope) -> Any:
    """The term's value. Raises `Absent` and `Unfit`."""
    if isinstance(term, Constant):
        return term.value
    if isinstance(term, Object):
        return {key: evaluate(part, scope) for key, part in term.fields.items()}
    if isinstance(term, Array):
        return [evaluate(part, scope) for part in term.items]
    if isinstance(term, Operation):
        return _operation(term, scope)
    try:
        return _reference(term, scope)
    except Absent as absent:
        if absent.node is not None and absent.node in scope.lenient:
            return None
        raise


def _reference(term: Term, scope: Scope) -> Any:
    """A whole chain of fields at once, so that the end of it is null where its beginning is not there."""
    if isinstance(term, Get):
        return _member(_reference(term.of, scope), term)
    if isinstance(term, Output):
        if term.node not in scope.outputs:
            raise Absent(f"node {term.node!r} has no output", node=term.node)
        return scope.outputs[term.node]
    if isinstance(term, Input):
        return scope.input
    if isinstance(term, Item):
        return scope.item
    return evaluate(term, scope)


def _member(value: Any, term: Get) -> Any:
    key = term.key
    if isinstance(key, str) and isinstance(value, dict) and key in value:
        return value[key]
    if isinstance(key, int) and isinstance(value, list) and -len(value) <= key < len(value):
        return value[key]
    raise Absent(f"there is no {shown(term)}")


def _operation(term: Operation, scope: Scope) -> Any:
    name, terms = term.operator, term.terms
    if name == "otherwise":
        try:
            value = evaluate(terms[0], scope)
        except Absent:
            value = None
        return evaluate(terms[1], scope) if value is None else value
    if name == "not":
        return not _truth(terms[0], scope)
    if name == "and":
        return all(_truth(part, scope) for part in terms)
    if name == "or":
        return any(_truth(part, scope) for part in terms)
    left, right = (evaluate(part, scope) for part in terms)
    if name in ("eq", "ne"):
        return _same(left, right) is (name == "eq")
    if name == "in":
        if not isinstance(right, list):
            raise Unfit(f"{shown(terms[1])} is no list")
        return any(_same(left, each) for each in right)
    if not ((_is_number(left) and _is_number(right)) or (isinstance(left, str) and isinstance(right, str))):
        raise Unfit(f"{shown(term)} compares {left!r} with {right!r}: only numbers, and only texts, have an order")
    return _ORDER[name](left, right)


def _truth(term: Term, scope: Scope) -> bool:
    value = evaluate(term, scope)
    if not isinstance(value, bool):
        raise Unfit(f"{shown(term)} is {value!r}, neither true nor false")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _same(one: Any, other: Any) -> bool:
    """Equal in JSON: 1 is 1.0, and is not true."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(member, other[key]) for key, member in one.items())
    return bool(one == other)
