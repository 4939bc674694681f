"""What is refused when a graph is defined."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from aiki.graph import shape
from aiki.graph.fit import misfit
from aiki.graph.inference import Mistake, Shapes, infer
from aiki.graph.node import Node
from aiki.graph.shape import Shape
from aiki.graph.term import Term, nodes_of
from aiki.schema import Schema
from aiki.types.errors import InvalidGraph

__all__ = ["check"]


def check(name: str, nodes: Sequence[Node], input: Schema[Any], output: Term | None, returns: Schema[Any]) -> tuple[Node, ...]:
    """The nodes, each after those that it depends on, in the order given where there is a choice. Raises `InvalidGraph`."""
    return _Check(name, nodes).all(input, output, returns)


class _Check:
    def __init__(self, name: str, nodes: Sequence[Node]) -> None:
        self._name = name
        self._nodes = nodes

    def all(self, input: Schema[Any], output: Term | None, returns: Schema[Any]) -> tuple[Node, ...]:
        named = self._names(output)
        order = self._order(named)
        shapes = self._shapes(order, shape.of_schema(input))
        if output is not None:
            given = self._infer(None, "output", output, shapes)
        else:
            needed = {each for node in order for each in node.depends}
            given = Shape(
                {"type": "object", "properties": {each.name: shapes.outputs[each.name] for each in order if each.name not in needed}}
            )
        if (found := misfit(given, shape.of_schema(returns))) is not None:
            raise self._invalid(None, f"its output does not fit what it returns{_at(found[0])}: {found[1]}")
        return order

    def _names(self, output: Term | None) -> dict[str, Node]:
        named: dict[str, Node] = {}
        if not self._nodes:
            raise self._invalid(None, "it has no nodes")
        for node in self._nodes:
            if not isinstance(node, Node):
                raise self._invalid(None, f"its nodes are made by node(…), not {node!r}")
            if named.setdefault(node.name, node) is not node or sum(each is node for each in self._nodes) > 1:
                raise self._invalid(node.name, "there are two nodes of this name")
        for node in self._nodes:
            for each in node.depends:
                self._known(node.name, each, named)
            if node.join == "any" and not node.depends:
                raise self._invalid(node.name, 'join="any" needs nodes that it depends on')
        for each in nodes_of(output) if output is not None else ():
            self._known(None, each, named)
        return named

    def _known(self, node: str | None, name: str, named: Mapping[str, Node]) -> None:
        if name not in named:
            close = difflib.get_close_matches(str(name), named, 1)
            raise self._invalid(node, f"there is no node {name!r}" + (f"; do you mean {close[0]!r}?" if close else ""))

    def _order(self, named: Mapping[str, Node]) -> tuple[Node, ...]:
        order: list[Node] = []
        placed: set[str] = set()
        waiting = list(self._nodes)
        while waiting:
            ready = [node for node in waiting if placed.issuperset(node.depends)]
            if not ready:
                raise self._circle(waiting[0], named, placed)
            order += ready
            placed.update(node.name for node in ready)
            waiting = [node for node in waiting if node.name not in placed]
        return tuple(order)

    def _circle(self, node: Node, named: Mapping[str, Node], placed: set[str]) -> InvalidGraph:
        path: list[str] = []
        while node.name not in path:
            path.append(node.name)
            node = named[next(each for each in node.depends if each not in placed)]
        # A path from each node to one that it waits for, so it is told the other way round: in the order in which they would run.
        circle = [node.name, *reversed(path[path.index(node.name) :])]
        return self._invalid(node.name, f"it waits for itself: {' → '.join(circle)}")

    def _shapes(self, order: Sequence[Node], input: Shape) -> Shapes:
        outputs: dict[str, Shape] = {}
        shapes = Shapes(input, outputs)
        for node in order:
            item: Shape | None = None
            if node.each is not None:
                item = shape.items(self._infer(node.name, "each", node.each, shapes))
                if item is None:
                    raise self._invalid(node.name, "each: it is no list")
            if node.when is not None and not shape.kinds(self._infer(node.name, "when", node.when, shapes)) & {"boolean", "any"}:
                raise self._invalid(node.name, "when: it is no condition, for it is neither true nor false")
            given = self._infer(node.name, "input", node.input, shapes._replace(item=item))
            if (found := misfit(given, shape.of_schema(node.runs.input_schema))) is not None:
                raise self._invalid(node.name, f"its input does not fit {node.runs!r}{_at(found[0])}: {found[1]}")
            result = shape.of_schema(node.runs.output_schema)
            outputs[node.name] = result if node.each is None else Shape({"type": "array", "items": result})
        return shapes

    def _infer(self, node: str | None, what: str, term: Term, shapes: Shapes) -> Shape:
        try:
            return infer(term, shapes)
        except Mistake as mistake:
            raise self._invalid(node, f"{what}: {mistake}") from mistake

    def _invalid(self, node: str | None, reason: str) -> InvalidGraph:
        where = "" if node is None else f", node {node!r}"
        return InvalidGraph(f"graph {self._name!r}{where}: {reason}", graph=self._name, node=node, reason=reason)


def _at(path: str) -> str:
    return "" if path == "$" else f" at {path}"
