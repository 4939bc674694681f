"""One module as it is written: its scopes, and which of its functions are workflow code."""

import ast
from collections.abc import Iterator

__all__ = ["Function", "Module", "Scope"]

Function = ast.FunctionDef | ast.AsyncFunctionDef

_HOOKS = frozenset({"on_start", "before_each", "on_sleep", "on_complete", "on_error", "on_cancel"})
_HANDLERS = frozenset({"query", "update"})
_HOMES = ("aiki.sdk", "aiki.workflow", "aiki.task", "aiki.workflow.decorator", "aiki.task.decorator")


class Scope:
    """The names that a module, function or class binds."""

    def __init__(self, node: ast.AST, outer: "Scope | None") -> None:
        self.node = node
        self.outer = outer
        self.imports: dict[str, str] = {}
        self.functions: dict[str, Function] = {}
        self.variables: set[str] = set()

    def find(self, name: str) -> "Scope | None":
        """The scope that binds this name, as seen from here."""
        scope: Scope | None = self
        while scope is not None:
            seen = scope is self or not isinstance(scope.node, ast.ClassDef)
            if seen and (name in scope.imports or name in scope.functions or name in scope.variables):
                return scope
            scope = scope.outer
        return None

    def dotted(self, node: ast.expr) -> str | None:
        """The full name of what an expression refers to, when it begins with an import or is a built-in."""
        if isinstance(node, ast.Attribute):
            before = self.dotted(node.value)
            return f"{before}.{node.attr}" if before else None
        if isinstance(node, ast.Name):
            scope = self.find(node.id)
            return node.id if scope is None else scope.imports.get(node.id)
        return None


class Module:
    """`roots`: the functions that are workflow code, by the name to show. `tasks`: those that run as steps."""

    def __init__(self, tree: ast.Module) -> None:
        self.scopes: dict[ast.AST, Scope] = {}
        self.top = self._bind(tree, None)
        self.roots: list[tuple[Function, str]] = []
        self.tasks: set[Function] = set()
        self._workflows: set[Function] = set()
        functions = [(node, scope) for node, scope in self._everything(tree, self.top) if isinstance(node, Function)]
        for node, scope in functions:
            for decorator in node.decorator_list:
                self._judge(node, decorator, scope)
        for call, scope in self._everything(tree, self.top):
            self._judge_call(call, scope)
        for node, scope in functions:
            if node not in self._workflows and any(self._is_hook(each, scope) for each in node.decorator_list):
                self.roots.append((node, node.name))

    def _judge(self, node: Function, decorator: ast.expr, scope: Scope) -> None:
        made = decorator.func if isinstance(decorator, ast.Call) else decorator
        if _is_aiki(scope.dotted(made), "workflow"):
            self.roots.append((node, node.name))
            self._workflows.add(node)
        elif _is_aiki(scope.dotted(made), "task"):
            self.tasks.add(node)

    def _judge_call(self, call: ast.AST, scope: Scope) -> None:
        """`workflow(name="x")(function)`."""
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Call) and len(call.args) == 1):
            return
        argument, made = call.args[0], scope.dotted(call.func.func)
        if isinstance(argument, ast.Name) and (home := scope.find(argument.id)) and (node := home.functions.get(argument.id)):
            if _is_aiki(made, "workflow"):
                self.roots.append((node, node.name))
                self._workflows.add(node)
            elif _is_aiki(made, "task"):
                self.tasks.add(node)

    def _is_hook(self, decorator: ast.expr, scope: Scope) -> bool:
        made = decorator.func if isinstance(decorator, ast.Call) else decorator
        if not (isinstance(made, ast.Attribute) and isinstance(made.value, ast.Name)):
            return False
        if made.attr not in (_HANDLERS if isinstance(decorator, ast.Call) else _HOOKS):
            return False
        home = scope.find(made.value.id)
        return home is not None and (home.functions.get(made.value.id) in self._workflows or self._may_be_workflow(home, made.value.id))

    def _may_be_workflow(self, home: Scope, name: str) -> bool:
        """It comes from elsewhere, by `from … import`, into a module that has to do with Aiki."""
        return "." in home.imports.get(name, "") and any(each.split(".")[0] == "aiki" for each in self.top.imports.values())

    def is_workflow(self, node: Function) -> bool:
        """Whether it is decorated as one."""
        return node in self._workflows

    def _everything(self, node: ast.AST, scope: Scope) -> Iterator[tuple[ast.AST, Scope]]:
        for child in ast.iter_child_nodes(node):
            yield child, scope
            yield from self._everything(child, self.scopes.get(child, scope))

    def _bind(self, node: ast.AST, outer: Scope | None) -> Scope:
        scope = self.scopes[node] = Scope(node, outer)
        if isinstance(node, Function):
            arguments = node.args
            every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
            scope.variables.update(each.arg for each in every if each is not None)
        outside: set[str] = set()
        self._bind_all(ast.iter_child_nodes(node), scope, outside)
        scope.variables -= outside
        return scope

    def _bind_all(self, nodes: Iterator[ast.AST], scope: Scope, outside: set[str]) -> None:
        for node in nodes:
            if isinstance(node, Function):
                scope.functions[node.name] = node
                self._bind(node, scope)
                continue
            if isinstance(node, ast.ClassDef):
                scope.variables.add(node.name)
                self._bind(node, scope)
                continue
            if isinstance(node, ast.Import):
                for alias in node.names:
                    scope.imports[alias.asname or alias.name.partition(".")[0]] = (
                        alias.name if alias.asname else alias.name.partition(".")[0]
                    )
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    scope.imports[alias.asname or alias.name] = f"{'.' * node.level}{node.module or ''}.{alias.name}"
            elif isinstance(node, ast.Global | ast.Nonlocal):
                outside.update(node.names)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
                scope.variables.add(node.id)
            elif isinstance(node, ast.ExceptHandler) and node.name:
                scope.variables.add(node.name)
            self._bind_all(ast.iter_child_nodes(node), scope, outside)


def _is_aiki(name: str | None, what: str) -> bool:
    return name is not None and name.rpartition(".")[2] == what and name.rpartition(".")[0] in _HOMES
