"""Goes through workflow code, and from there into the functions of the module that it uses."""

import ast
from collections.abc import Iterator

from aiki.lint.kinds import Kinds
from aiki.lint.module import Function, Module, Scope
from aiki.lint.reader import Reader

__all__ = ["Walk"]


class Walk:
    """Each function is read once, by whichever way it is reached first."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self._read: set[Function] = set()
        self._kinds: dict[ast.AST, Kinds] = {}

    def everything(self) -> Iterator[tuple[ast.expr | ast.stmt, str, str, str]]:
        """Place, rule, what is there, and which workflow code leads there."""
        for root, name in self.module.roots:
            waiting = [(root, name)]
            while waiting:
                node, way = waiting.pop()
                if node in self._read or (self.module.is_workflow(node) and node is not root):
                    continue
                self._read.add(node)
                scope = self.module.scopes[node]
                reader = Reader(self.module, scope, self._kinds_of(node))
                for part in node.body:
                    reader.visit(part)
                yield from ((place, rule, what, way) for place, rule, what in reader.found)
                waiting += [(used, f"{way} → {used.name}") for used in reader.used]

    def _kinds_of(self, node: ast.AST) -> Kinds:
        assert isinstance(node, Function)
        if node not in self._kinds:
            scope: Scope = self.module.scopes[node]
            outer = scope.outer
            around = self._kinds_of(outer.node) if outer is not None and isinstance(outer.node, Function) else None
            self._kinds[node] = Kinds(node, scope, around)
        return self._kinds[node]
