"""Does a node wait, is it skipped, or on which inputs does it run? Pure: the program asks it, and so does who shows a run."""

from collections.abc import Collection, Mapping
from typing import Any, Final, Literal

from aiki.graph.evaluation import Absent, Scope, Unfit, evaluate
from aiki.graph.expression import shown
from aiki.graph.node import Node
from aiki.graph.term import Term, nodes_of
from aiki.types.errors import PayloadError

__all__ = ["SKIP", "WAIT", "Decision", "decide", "value_of"]

WAIT: Final = "wait"
SKIP: Final = "skip"

Decision = Literal["wait", "skip"] | tuple[Any, ...]
"""The inputs when it runs: one per item, or the sole one."""


def decide(node: Node, input: Any, outputs: Mapping[str, Any], skipped: Collection[str]) -> Decision:
    """By what the graph was given, and what its nodes have come to. Raises `PayloadError` when an expression has no value."""
    open = [each for each in node.depends if each not in outputs and each not in skipped]
    first = any(each in outputs for each in node.races)
    if any(not first or each not in node.races for each in open):
        return WAIT
    if (node.races and not first) or (not node.races and any(each in skipped for each in node.after)):
        return SKIP
    scope = Scope(input, outputs, lenient=node.races)
    try:
        if node.when is not None and not _condition(node, scope):
            return SKIP
        if node.each is None:
            return (evaluate(node.input, scope),)
        items = evaluate(node.each, scope)
        if not isinstance(items, list):
            raise Unfit(f"{shown(node.each)} is no list")
        return tuple(evaluate(node.input, scope._replace(item=item)) for item in items)
    except Absent as absent:
        if absent.node is not None:
            return SKIP
        raise _error(f"node {node.name!r}", absent) from absent
    except Unfit as unfit:
        raise _error(f"node {node.name!r}", unfit) from unfit


def _condition(node: Node, scope: Scope) -> bool:
    assert node.when is not None
    value = evaluate(node.when, scope)
    if not isinstance(value, bool):
        raise Unfit(f"{shown(node.when)} is {value!r}, neither true nor false")
    return value


def value_of(term: Term, input: Any, outputs: Mapping[str, Any]) -> Any:
    """The graph's output, in which what was skipped is null. Raises `PayloadError`."""
    try:
        return evaluate(term, Scope(input, outputs, lenient=nodes_of(term)))
    except (Absent, Unfit) as error:
        raise _error("the graph's output", error) from error


def _error(where: str, error: Exception) -> PayloadError:
    return PayloadError(f"{where}: {error}", where=where, path="$", reason=str(error))
