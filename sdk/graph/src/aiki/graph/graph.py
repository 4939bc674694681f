"""A graph: a workflow that is made of data."""

from collections.abc import Iterable
from typing import Any, Literal, TypeVar, overload

import msgspec

from aiki.graph.expression import term_of
from aiki.graph.node import Node
from aiki.graph.program import Walk
from aiki.graph.rendering import render
from aiki.graph.term import Term, nodes_of
from aiki.graph.validation import check
from aiki.journal import CLEANUP
from aiki.types.duration import Duration
from aiki.types.errors import DefinitionError, InvalidGraph, PayloadError
from aiki.types.retention import Kept, Retention
from aiki.types.retry import Retry
from aiki.workflow import Context, Workflow

__all__ = ["Graph", "graph"]

Input = TypeVar("Input")
Output = TypeVar("Output")


class Graph(Workflow[Input, Output]):
    """Made by `graph(…)`. A workflow like any other: enqueue it, schedule it, run it as a sub-workflow; and it can be looked at."""

    def __init__(
        self,
        *,
        name: str,
        version: str,
        input: Any,
        returns: Any,
        nodes: Iterable[Node],
        output: Any,
        retry: Retry | None,
        timeout: Duration | None,
        deadline: Duration | None,
        cleanup: Duration,
        retention: Kept | Retention = "worker",
        archive: bool | None = None,
    ) -> None:
        async def program(ctx: Context, payload: Any) -> Any:
            value = msgspec.json.decode(self.input_schema.encode(payload, self._input))
            result = await Walk(self, ctx, value).run()
            return self.output_schema.decode(msgspec.json.encode(result), self._result)

        program.__annotations__ = {"ctx": Context, "payload": input, "return": returns}
        super().__init__(
            program,
            name=name,
            version=version,
            retry=retry,
            timeout=timeout,
            deadline=deadline,
            cleanup=cleanup,
            retention=retention,
            archive=archive,
        )
        try:
            self.output: Term | None = None if output is None else term_of(output)
        except (DefinitionError, PayloadError) as error:
            raise InvalidGraph(f"graph {name!r}: output: {error.message}", graph=name, node=None, reason=error.message) from error
        self.nodes = check(name, list(nodes), self.input_schema, self.output, self.output_schema)
        """Each after those that it depends on."""
        self.dependents = {each.name: tuple(other.name for other in self.nodes if each.name in other.depends) for each in self.nodes}
        """By the name of a node, those that wait for it."""
        self.ends = tuple(name for name, dependents in self.dependents.items() if not dependents)
        """Those that no other waits for."""
        self.racing = self._racing()
        """Those whose input depends on who was first, and so might differ in another attempt of the run."""

    def __repr__(self) -> str:
        return f"<graph {self.name!r} version {self.version!r}>"

    def _racing(self) -> frozenset[str]:
        found: set[str] = set()
        for node in self.nodes:
            if len(node.races) > 1 or not found.isdisjoint(node.depends):
                found.add(node.name)
        return frozenset(found)

    def rest_of(self, node: Node) -> frozenset[str]:
        """What is cancelled when `node` begins: all that it waits for, directly or not, and that nobody else needs."""
        if not node.cancel_rest:
            return frozenset()
        kept = set(nodes_of(self.output)) if self.output is not None else set()
        rest: set[str] = {node.name}
        for each in reversed(self.nodes):
            if each.name not in kept and self.dependents[each.name] and rest.issuperset(self.dependents[each.name]):
                rest.add(each.name)
        return frozenset(rest - {node.name})

    def render(self, format: Literal["text", "mermaid"] = "text") -> str:
        """The graph as a table for people, or as a Mermaid flowchart."""
        return render(self, format)

    def to_dict(self) -> dict[str, Any]:
        """The definition as plain JSON values. What its tasks do is not in it, only their names."""
        return {
            "name": self.name,
            "version": self.version,
            "input": self.input_schema.json_schema(),
            "nodes": [_node(each) for each in self.nodes],
            "output": None if self.output is None else msgspec.to_builtins(self.output),
        }


def _node(node: Node) -> dict[str, Any]:
    runs = {"workflow": node.runs.name, "version": node.runs.version} if isinstance(node.runs, Workflow) else {"task": node.runs.name}
    return {
        "name": node.name,
        "runs": runs,
        "input": msgspec.to_builtins(node.input),
        "after": list(node.after),
        "when": None if node.when is None else msgspec.to_builtins(node.when),
        "each": None if node.each is None else msgspec.to_builtins(node.each),
        "join": node.join,
        "cancel_rest": node.cancel_rest,
        "concurrency": node.concurrency,
        "options": msgspec.to_builtins(dict(node.options)),
    }


@overload
def graph(
    *,
    name: str,
    nodes: Iterable[Node],
    input: type[Input],
    returns: type[Output],
    version: str = "1.0.0",
    output: Any = None,
    retry: Retry | None = None,
    timeout: Duration | None = None,
    deadline: Duration | None = None,
    cleanup: Duration = CLEANUP,
    retention: Kept | Retention = "worker",
    archive: bool | None = None,
) -> Graph[Input, Output]: ...
@overload
def graph(
    *,
    name: str,
    nodes: Iterable[Node],
    input: type[Input],
    version: str = "1.0.0",
    output: Any = None,
    retry: Retry | None = None,
    timeout: Duration | None = None,
    deadline: Duration | None = None,
    cleanup: Duration = CLEANUP,
    retention: Kept | Retention = "worker",
    archive: bool | None = None,
) -> Graph[Input, Any]: ...
@overload
def graph(
    *,
    name: str,
    nodes: Iterable[Node],
    input: Any = Any,
    returns: Any = Any,
    version: str = "1.0.0",
    output: Any = None,
    retry: Retry | None = None,
    timeout: Duration | None = None,
    deadline: Duration | None = None,
    cleanup: Duration = CLEANUP,
    retention: Kept | Retention = "worker",
    archive: bool | None = None,
) -> Graph[Any, Any]: ...


def graph(
    *,
    name: str,
    nodes: Iterable[Node],
    input: Any = Any,
    returns: Any = Any,
    version: str = "1.0.0",
    output: Any = None,
    retry: Retry | None = None,
    timeout: Duration | None = None,
    deadline: Duration | None = None,
    cleanup: Duration = CLEANUP,
    retention: Kept | Retention = "worker",
    archive: bool | None = None,
) -> Any:
    """A workflow made of nodes: tasks and sub-workflows with what they wait for, on which conditions, with which inputs.

    `input` and `returns` are the payload types of the run; any JSON without them. `output`, made of expressions, is the run's result, in
    which what was skipped is null; by default an object with the outputs of the nodes that nobody depends on, without those that were
    skipped. The other options are those of `@workflow`. Raises `InvalidGraph`, which names the node and the reason: an unknown or double
    name, a circle, a field that is not there, a type that does not fit.
    """
    return Graph(
        name=name,
        version=version,
        input=input,
        returns=returns,
        nodes=nodes,
        output=output,
        retry=retry,
        timeout=timeout,
        deadline=deadline,
        cleanup=cleanup,
        retention=retention,
        archive=archive,
    )
