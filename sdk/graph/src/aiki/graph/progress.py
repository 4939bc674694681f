"""What the nodes of a run have come to, read from its view."""

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from aiki.client import RunView, StepView
from aiki.graph.decision import SKIP, decide
from aiki.graph.node import Node
from aiki.graph.program import key_of
from aiki.journal.operation import keyed_address
from aiki.schema import content_hash
from aiki.types.errors import DefinitionError, PayloadError, TaskCancelled
from aiki.types.states import is_final
from aiki.workflow import Workflow

if TYPE_CHECKING:
    from aiki.graph.graph import Graph

__all__ = ["NodeProgress", "NodeState", "progress_of"]

NodeState = Literal["waiting", "running", "done", "failed", "skipped", "cancelled", "unreached"]


class NodeProgress(msgspec.Struct, frozen=True, kw_only=True):
    """A node in a run. `done` of `total` steps are completed; `total` is None while nobody knows. `error` in words.

    `state`: "unreached" is what still waited when the run ended; "cancelled" was taken back.
    """

    name: str
    state: NodeState
    done: int
    total: int | None
    error: str | None = None


def progress_of(graph: "Graph[Any, Any]", view: RunView) -> tuple[NodeProgress, ...]:
    """One per node, in the order of `graph.nodes`. Raises `DefinitionError` when the run is not one of this graph's version."""
    status = view.status
    if (status.workflow, status.version) != (graph.name, graph.version):
        raise DefinitionError(
            f"run {status.id} is one of workflow {status.workflow!r} version {status.version!r}, not of {graph!r}", where="render_run"
        )
    return _Reading(graph, view).all()


class _Reading:
    def __init__(self, graph: "Graph[Any, Any]", view: RunView) -> None:
        self._graph = graph
        self._view = view
        # A step that failed in one attempt of the run may stand there again: the last one counts.
        self._steps = {step.address: step for step in view.steps}
        self._contents: dict[str, list[str]] = {}
        for step in view.steps:
            self._contents.setdefault(step.name, []).append(content_hash(msgspec.json.encode(step.input)))
        self._outputs: dict[str, Any] = {}
        self._skipped: set[str] = set()

    def all(self) -> tuple[NodeProgress, ...]:
        found = {node.name: self._node(node) for node in self._graph.nodes}
        for node in self._graph.nodes:
            if node.cancel_rest and found[node.name].state not in ("waiting", "skipped", "unreached"):
                for name in self._graph.rest_of(node):
                    if found[name].state in ("waiting", "unreached", "running", "failed"):
                        found[name] = msgspec.structs.replace(found[name], state="cancelled", error=None)
        return tuple(found.values())

    def _node(self, node: Node) -> NodeProgress:
        inputs = self._inputs(node)
        total = None if inputs is None else len(inputs)
        steps = self._steps_of(node, total)
        ended = is_final(self._view.status.state)
        if not steps and total != 0:
            state: NodeState = "skipped" if node.name in self._skipped else "waiting"
            if ended and state == "waiting":
                # A step that the end of the run took back has left no trace, yet it was issued if its node could begin.
                state = "unreached" if total is None else "cancelled"
            return NodeProgress(name=node.name, state=state, done=0, total=total)
        done = [step for step in steps if step.state == "completed"]
        failed = [step for step in steps if step.state == "failed"]
        if failed:
            error = failed[0].error
            cancelled = all(step.error is not None and step.error.code == TaskCancelled.code for step in failed)
            return NodeProgress(name=node.name, state="cancelled" if cancelled else "failed", done=len(done), total=total, error=str(error))
        if len(done) == total:
            self._outputs[node.name] = done[0].output if node.each is None else [step.output for step in done]
            return NodeProgress(name=node.name, state="done", done=len(done), total=total)
        return NodeProgress(name=node.name, state="cancelled" if ended else "running", done=len(done), total=total)

    def _inputs(self, node: Node) -> tuple[Any, ...] | None:
        if node.each is None and self._steps_of(node, 1):
            return (None,)  # it runs, whatever one would decide by what is known now
        try:
            decision = decide(node, self._view.input, self._outputs, self._skipped)
        except PayloadError:
            return None
        if decision == SKIP:
            self._skipped.add(node.name)
        return decision if isinstance(decision, tuple) else None

    def _steps_of(self, node: Node, total: int | None) -> list[StepView]:
        """In the order of the items; without those that are not issued yet."""
        if node.each is None:
            return [step for step in [self._step(node, None)] if step is not None]
        found: list[StepView] = []
        for index in range(total if total is not None else len(self._view.steps)):
            if (step := self._step(node, index)) is None:
                break  # they are issued in order
            found.append(step)
        return found

    def _step(self, node: Node, index: int | None) -> StepView | None:
        runs = node.runs
        contents: list[str | None] = [None]
        if node.name in self._graph.racing:
            contents = [*reversed(self._contents.get(runs.name, []))]
        for content in contents:
            key = key_of(self._view.status.id, node.name, index, content)
            address = keyed_address(runs.name, f"child/{runs.version}/{key}" if isinstance(runs, Workflow) else key)
            if (step := self._steps.get(address)) is not None:
                return step
        return None
