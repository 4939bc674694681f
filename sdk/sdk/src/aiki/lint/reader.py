"""Reads one function of workflow code."""

import ast
from typing import Any

from aiki.lint.forbidden import rule_of_call, rule_of_reference
from aiki.lint.kinds import Kinds
from aiki.lint.module import Function, Module, Scope

__all__ = ["Reader"]

_DURABLE = frozenset(["sleep", "wait_for", "wait_for_any", "wait_for_all", "step", "publish", "send", "cancel", "webhook"])
_STEPS = frozenset({"run", "start"})
_COROUTINES = frozenset({"asyncio.sleep", "asyncio.wait", "asyncio.wait_for"})
_TASK_MAKERS = frozenset({"create_task", "ensure_future"})
_CHANGES = frozenset(
    [
        "append",
        "appendleft",
        "extend",
        "extendleft",
        "insert",
        "remove",
        "pop",
        "popleft",
        "popitem",
        "clear",
        "sort",
        "reverse",
        "add",
        "discard",
        "update",
        "setdefault",
        "rotate",
        "difference_update",
        "intersection_update",
        "symmetric_difference_update",
        "put_nowait",
        "subtract",
    ]
)
_ORDERLESS = frozenset({"sorted", "set", "frozenset", "sum", "min", "max", "any", "all", "len"})
_ORDERING = frozenset(
    {"list", "tuple", "iter", "enumerate", "map", "filter", "zip", "dict.fromkeys", "collections.deque", "itertools.chain"}
)
_PATH_METHODS = frozenset({"read_text", "read_bytes", "write_text", "write_bytes", "iterdir", "rglob"})
_PATH_ONLY = frozenset(
    [
        "open",
        "exists",
        "is_file",
        "is_dir",
        "stat",
        "lstat",
        "unlink",
        "mkdir",
        "rmdir",
        "touch",
        "glob",
        "rename",
        "replace",
        "resolve",
        "chmod",
        "samefile",
    ]
)


class Reader(ast.NodeVisitor):
    """`found`: place, rule and what is there. `used`: functions of the module that the code calls, or hands on."""

    def __init__(self, module: Module, scope: Scope, kinds: Kinds) -> None:
        self.found: list[tuple[ast.expr | ast.stmt, str, str]] = []
        self.used: list[Function] = []
        self._module = module
        self._scope = scope
        self._kinds = kinds
        self._orderless: set[ast.AST] = set()

    def _report(self, node: ast.expr | ast.stmt, rule: str | None, what: str | None = None) -> None:
        if rule is not None:
            self.found.append((node, rule, what or ast.unparse(node)))

    # What is defined here is read when it is used.

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._visit_all([*node.decorator_list, *node.args.defaults, *(each for each in node.args.kw_defaults if each is not None)])

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._visit_all([*node.decorator_list, *node.args.defaults, *(each for each in node.args.kw_defaults if each is not None)])

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._visit_all(node.decorator_list)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._change(node.target)
        self._visit_all([node.target, *([node.value] if node.value is not None else [])])

    def _visit_all(self, nodes: "list[Any]") -> None:
        for node in nodes:
            self.visit(node)

    # Names and calls

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            if (name := self._scope.dotted(node)) is not None:
                self._report(node, rule_of_reference(name))
            if (function := self._function(node)) is not None and function not in self._module.tasks:
                self.used.append(function)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        name = self._scope.dotted(node)
        if name is not None and (rule := rule_of_reference(name)) is not None:
            self._report(node, rule)
        else:
            self.visit(node.value)

    def visit_Call(self, node: ast.Call) -> None:
        name = self._scope.dotted(node.func)
        last = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if isinstance(node.func, ast.Attribute) and last == "step" and self._kinds.is_context(node.func.value):
            # The function runs outside of the workflow's code.
            self._visit_all([*node.args[:1], *(each.value for each in node.keywords if each.arg != "function")])
            return
        if name is not None:
            self._report(node, rule_of_call(name, has_arguments=bool(node.args or node.keywords)), f"{name}()")
        if name == "asyncio.as_completed" and node.args and self._starts_coroutines(node.args[0]):
            self._report(node, "as-completed", "asyncio.as_completed()")
        if name in _ORDERLESS:
            self._orderless.update(node.args)
        elif name in _ORDERING or last == "join":
            for argument in node.args:
                self._check_order(argument)
        if isinstance(node.func, ast.Attribute):
            self._read_method(node, node.func, name)
        elif name == "next" and node.args and self._is_global(node.args[0]):
            self._report(node, "globals")
        if isinstance(node.func, ast.Name) and (function := self._function(node.func)) in self._module.tasks and function is not None:
            self.used.append(function)  # called directly, a task is a plain function
        self.generic_visit(node)

    def _read_method(self, node: ast.Call, method: ast.Attribute, name: str | None) -> None:
        if method.attr == "run_in_executor":
            self._report(node, "threads", "run_in_executor()")
        elif method.attr in _PATH_METHODS or (method.attr in _PATH_ONLY and self._kinds.is_path(method.value)):
            self._report(node, "files", f"{method.attr}()")
        elif method.attr == "pop" and not node.args and self._kinds.is_set(method.value):
            self._report(node, "set-order")
        elif method.attr in _CHANGES and name is None:
            self._change(method, node)

    def _function(self, node: ast.Name) -> Function | None:
        home = self._scope.find(node.id)
        return home.functions.get(node.id) if home is not None else None

    # Steps that never happen

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Call) and self._is_coroutine(node.value):
            self._report(node.value, "unawaited", f"{ast.unparse(node.value.func)}(…) without await")
        self.generic_visit(node)

    def _is_coroutine(self, call: ast.Call) -> bool:
        if isinstance(call.func, ast.Name):
            return isinstance(self._function(call.func), ast.AsyncFunctionDef)
        if self._scope.dotted(call.func) in _COROUTINES:
            return True
        if not isinstance(call.func, ast.Attribute):
            return False
        if self._kinds.is_context(call.func.value):
            return call.func.attr in _DURABLE
        is_saga = isinstance(call.func.value, ast.Name) and any(each.arg == "undo" for each in call.keywords)
        return call.func.attr in _STEPS and (is_saga or bool(call.args and self._kinds.is_context(call.args[0])))

    def _starts_coroutines(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Name):
            value = self._kinds.value(node.id)
            return value is not None and not isinstance(value, ast.Name) and self._starts_coroutines(value)
        parts = node.elts if isinstance(node, ast.List | ast.Tuple | ast.Set) else []
        if isinstance(node, ast.ListComp | ast.GeneratorExp | ast.SetComp):
            parts = [node.elt]
        return any(isinstance(part, ast.Call) and _last(part.func) not in _TASK_MAKERS for part in parts)

    # Globals

    def visit_Global(self, node: ast.Global) -> None:
        self._report(node, "globals")

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            self._change(target)
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._change(node.target)
        self.generic_visit(node)

    def visit_Delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            self._change(target)

    def _change(self, target: ast.expr, place: ast.expr | None = None) -> None:
        """Something is assigned to, or changed: what it is part of must be the run's own."""
        if isinstance(target, ast.Tuple | ast.List):
            for each in target.elts:
                self._change(each)
        part = target
        while isinstance(part, ast.Attribute | ast.Subscript):
            part = part.value
        if part is not target and self._is_global(part):
            self._report(place or target, "globals")

    def _is_global(self, node: ast.expr) -> bool:
        if not isinstance(node, ast.Name):
            return False
        home = self._scope.find(node.id)
        return home is self._module.top

    # The order of sets

    def visit_For(self, node: ast.For) -> None:
        self._check_order(node.iter)
        self._change(node.target)
        self.generic_visit(node)

    def visit_ListComp(self, node: ast.ListComp) -> None:
        self._check_comprehension(node)

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> None:
        self._check_comprehension(node)

    def visit_DictComp(self, node: ast.DictComp) -> None:
        self._check_comprehension(node)

    def visit_Starred(self, node: ast.Starred) -> None:
        if isinstance(node.ctx, ast.Load):
            self._check_order(node.value)
        self.generic_visit(node)

    def _check_comprehension(self, node: ast.ListComp | ast.GeneratorExp | ast.DictComp) -> None:
        if node not in self._orderless:
            for part in node.generators:
                self._check_order(part.iter)
        self.generic_visit(node)

    def _check_order(self, node: ast.expr) -> None:
        if self._kinds.is_set(node):
            self._report(node, "set-order")


def _last(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
