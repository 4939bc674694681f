"""What kind of value an expression has, as far as its text tells: a set, a path, a workflow's context."""

import ast
from collections.abc import Iterator

from aiki.lint.module import Function, Scope

__all__ = ["Kinds"]

_SETS = frozenset({"set", "frozenset"})
_SET_TYPES = _SETS | {"collections.abc.Set", "collections.abc.MutableSet", "typing.AbstractSet", "typing.Set", "typing.FrozenSet"}
_SET_METHODS = frozenset({"union", "intersection", "difference", "symmetric_difference"})
_PATHS = frozenset({"pathlib.Path", "pathlib.PurePath", "pathlib.PosixPath"})
_CONTEXTS = frozenset({"aiki.sdk.Context", "aiki.workflow.Context", "aiki.workflow.context.Context"})


class Kinds:
    """Of the names of one function; `outer` knows those of the function around it. A name that is bound in several ways is of no kind."""

    def __init__(self, node: Function, scope: Scope, outer: "Kinds | None") -> None:
        self._scope = scope
        self._outer = outer
        self._values: dict[str, list[ast.expr]] = {}
        self._annotations: dict[str, ast.expr] = {}
        arguments = node.args
        for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]:
            if argument.annotation is not None:
                self._annotations[argument.arg] = argument.annotation
            else:
                self._values.setdefault(argument.arg, [])
        for part in _own_nodes(node):
            if isinstance(part, ast.Assign):
                for target in part.targets:
                    if isinstance(target, ast.Name):
                        self._values.setdefault(target.id, []).append(part.value)
            elif isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
                self._annotations[part.target.id] = part.annotation

    def is_set(self, node: ast.expr) -> bool:
        """A set, whose order is the process's own."""
        if isinstance(node, ast.Set | ast.SetComp):
            return True
        if isinstance(node, ast.Call):
            if self._scope.dotted(node.func) in _SETS:
                return True
            return isinstance(node.func, ast.Attribute) and node.func.attr in _SET_METHODS and self.is_set(node.func.value)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr | ast.BitAnd | ast.Sub | ast.BitXor):
            return self.is_set(node.left) or self.is_set(node.right)
        return isinstance(node, ast.Name) and self._is_named(node.id, "set")

    def is_path(self, node: ast.expr) -> bool:
        """A `pathlib.Path`."""
        if isinstance(node, ast.Call):
            return self._scope.dotted(node.func) in _PATHS
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            return self.is_path(node.left) or self.is_path(node.right)
        if isinstance(node, ast.Attribute):
            return node.attr == "parent" and self.is_path(node.value)
        return isinstance(node, ast.Name) and self._is_named(node.id, "path")

    def is_context(self, node: ast.expr) -> bool:
        """The context of a run: by its type, or by what everybody calls it."""
        if isinstance(node, ast.Attribute):
            return node.attr == "ctx"
        return isinstance(node, ast.Name) and (node.id == "ctx" or self._is_named(node.id, "context"))

    def value(self, name: str) -> ast.expr | None:
        """What a name of this function stands for, when it is bound once."""
        values = self._values.get(name, [])
        return values[0] if len(values) == 1 else None

    def _is_named(self, name: str, kind: str) -> bool:
        if (annotation := self._annotations.get(name)) is not None:
            return self._is_type(annotation, kind)
        if name in self._values:
            values = self._values.pop(name)  # a name may be defined by itself
            try:
                test = {"set": self.is_set, "path": self.is_path}.get(kind)
                return test is not None and bool(values) and all(test(value) for value in values)
            finally:
                self._values[name] = values
        return self._outer is not None and name not in self._scope.variables and self._outer._is_named(name, kind)

    def _is_type(self, annotation: ast.expr, kind: str) -> bool:
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            try:
                annotation = ast.parse(annotation.value, mode="eval").body
            except SyntaxError:
                return False
        if isinstance(annotation, ast.Subscript):
            annotation = annotation.value
        return self._scope.dotted(annotation) in {"set": _SET_TYPES, "path": _PATHS, "context": _CONTEXTS}[kind]


def _own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, Function | ast.ClassDef | ast.Lambda):
            yield child
            yield from _own_nodes(child)
