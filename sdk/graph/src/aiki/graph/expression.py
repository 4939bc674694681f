"""Expressions: what users write over a graph's input and the outputs of its nodes. Nothing is computed: they build terms."""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

import msgspec

from aiki.graph.term import Array, Constant, Get, Input, Item, Object, Operation, Operator, Output, Term
from aiki.schema import schema_for
from aiki.types.errors import DefinitionError

__all__ = ["Expression", "inputs", "item", "ref", "shown", "term_of"]


class Expression:
    """A value that will be known when the graph runs.

    `e.field`, `e["field"]` and `e[0]` reach into it, by the names that its JSON has. `==`, `!=`, `<`, `<=`, `>`, `>=`, `is_in`, `&`, `|`
    and `~` make conditions; `and`, `or`, `not` and `in` cannot, and raise `DefinitionError`.
    """

    __slots__ = ("_term",)

    def __init__(self, term: Term) -> None:
        self._term = term

    def __repr__(self) -> str:
        return f"<expression {shown(self._term)}>"

    def __getattr__(self, name: str) -> "Expression":
        if name.startswith("_"):
            raise AttributeError(f'write ["{name}"] for a field whose name begins with an underscore')
        return Expression(Get(self._term, name))

    def __getitem__(self, key: str | int) -> "Expression":
        if isinstance(key, bool) or not isinstance(key, str | int):
            raise DefinitionError(f"an expression has fields (text) and items (whole numbers), not {key!r}", where="expression")
        return Expression(Get(self._term, key))

    def otherwise(self, default: Any) -> "Expression":
        """This, or `default` when it is null or is not there, because its node was skipped or it has no such field."""
        return self._with("otherwise", default)

    def is_in(self, values: Any) -> "Expression":
        """Whether it is one of these values: a list, or an expression for one."""
        return self._with("in", values)

    def __eq__(self, other: object) -> "Expression":  # type: ignore[override]
        return self._with("eq", other)

    def __ne__(self, other: object) -> "Expression":  # type: ignore[override]
        return self._with("ne", other)

    def __lt__(self, other: Any) -> "Expression":
        return self._with("lt", other)

    def __le__(self, other: Any) -> "Expression":
        return self._with("le", other)

    def __gt__(self, other: Any) -> "Expression":
        return self._with("gt", other)

    def __ge__(self, other: Any) -> "Expression":
        return self._with("ge", other)

    def __and__(self, other: Any) -> "Expression":
        return self._with("and", other)

    def __rand__(self, other: Any) -> "Expression":
        return Expression(Operation("and", (term_of(other), self._term)))

    def __or__(self, other: Any) -> "Expression":
        return self._with("or", other)

    def __ror__(self, other: Any) -> "Expression":
        return Expression(Operation("or", (term_of(other), self._term)))

    def __invert__(self) -> "Expression":
        return Expression(Operation("not", (self._term,)))

    def _with(self, operator: Operator, other: Any) -> "Expression":
        return Expression(Operation(operator, (self._term, term_of(other))))

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        raise DefinitionError(
            "an expression is neither true nor false before the graph runs: write &, | and ~ for and, or and not, each side in brackets",
            where="expression",
        )

    def __iter__(self) -> NoReturn:
        raise DefinitionError("an expression cannot be iterated over: give it as `each=`", where="expression")

    def __contains__(self, value: object) -> NoReturn:
        raise DefinitionError("`in` works on values that are known: write `value.is_in(…)`", where="expression")

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refused."""
        raise DefinitionError(f"{shown(self._term)} is a field and cannot be called", where="expression")


def ref(node: str) -> Expression:
    """The output of a node, of which the referring node becomes a dependent; of a fan-out the list of its outputs."""
    if type(node) is not str:
        raise DefinitionError(f"ref takes the name of a node, not {node!r}", where="ref")
    return Expression(Output(node))


inputs = Expression(Input())
"""The graph's input."""

item = Expression(Item())
"""Within the `input=` of a node with `each=`: the item."""


def term_of(value: Any) -> Term:
    """The term of an expression, or of a value that may hold expressions: dicts, lists, Structs, dataclasses. Raises `DefinitionError`."""
    if isinstance(value, Expression):
        return value._term
    if isinstance(value, Mapping):
        if bad := next((key for key in value if not isinstance(key, str)), None):
            raise DefinitionError(f"the keys of an object are text, not {bad!r}", where="expression")
        return Object({key: term_of(member) for key, member in value.items()})
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return Array(tuple(term_of(member) for member in value))
    if isinstance(value, msgspec.Struct) and not value.__struct_config__.array_like:
        fields = {field.encode_name: term_of(getattr(value, field.name)) for field in msgspec.structs.fields(value)}
        config = value.__struct_config__
        if config.tag is not None and config.tag_field is not None:
            fields = {config.tag_field: Constant(config.tag), **fields}
        return Object(fields)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return Object({field.name: term_of(getattr(value, field.name)) for field in dataclasses.fields(value)})
    if isinstance(value, float) and not math.isfinite(value):
        raise DefinitionError(f"JSON has no {value}", where="expression")
    if value is None or type(value) in (bool, int, float, str):
        return Constant(value)
    return Constant(msgspec.json.decode(schema_for(type(value), "expression").encode(value, "expression")))


_SIGNS = {
    "eq": "==",
    "ne": "!=",
    "lt": "<",
    "le": "<=",
    "gt": ">",
    "ge": ">=",
    "in": "in",
    "and": "and",
    "or": "or",
    "otherwise": "otherwise",
}


def shown(term: Term) -> str:
    """A term for people."""
    if isinstance(term, Constant):
        return msgspec.json.encode(term.value).decode()
    if isinstance(term, Input):
        return "inputs"
    if isinstance(term, Item):
        return "item"
    if isinstance(term, Output):
        return term.node
    if isinstance(term, Get):
        key = term.key
        return f"{shown(term.of)}{f'.{key}' if isinstance(key, str) and key.isidentifier() else f'[{key!r}]'}"
    if isinstance(term, Object):
        return _listed((f"{key}: {shown(part)}" for key, part in term.fields.items()), "{}")
    if isinstance(term, Array):
        return _listed(map(shown, term.items), "[]")
    if term.operator == "not":
        return f"not {_side(term.terms[0])}"
    return f" {_SIGNS[term.operator]} ".join(map(_side, term.terms))


def _listed(parts: Iterable[str], brackets: str) -> str:
    return f"{brackets[0]}{', '.join(parts)}{brackets[1]}"


def _side(term: Term) -> str:
    return f"({shown(term)})" if isinstance(term, Operation) else shown(term)
