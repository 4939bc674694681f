"""A graph, and a run of it, as text and as a Mermaid flowchart."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from aiki.client import RunView
from aiki.graph.expression import shown
from aiki.graph.node import Node
from aiki.graph.progress import NodeProgress, progress_of
from aiki.types.errors import DefinitionError
from aiki.workflow import Workflow

if TYPE_CHECKING:
    from aiki.graph.graph import Graph

__all__ = ["render", "render_run"]

_COLOURS = {
    "done": "#d3f9d8",
    "running": "#d0ebff",
    "failed": "#ffc9c9",
    "skipped": "#f1f3f5",
    "cancelled": "#f1f3f5",
    "waiting": "#ffffff",
    "unreached": "#ffffff",
}


def render(graph: "Graph[Any, Any]", format: Literal["text", "mermaid"] = "text") -> str:
    """The definition. Lines end with a newline each."""
    return _render(graph, format, {})


def render_run(graph: "Graph[Any, Any]", view: RunView, format: Literal["text", "mermaid"] = "text") -> str:
    """A run (`await handle.describe()`), with the state of each node. `DefinitionError` when it is none of this graph's version."""
    return _render(graph, format, {each.name: each for each in progress_of(graph, view)})


def _render(graph: "Graph[Any, Any]", format: str, progress: Mapping[str, NodeProgress]) -> str:
    if format not in ("text", "mermaid"):
        raise DefinitionError(f'format must be "text" or "mermaid", not {format!r}', where="format")
    lines = _text(graph, progress) if format == "text" else _mermaid(graph, progress)
    return "".join(f"{line}\n" for line in lines)


def _text(graph: "Graph[Any, Any]", progress: Mapping[str, NodeProgress]) -> list[str]:
    rows = [
        (node.name, *((_state(progress[node.name]),) if progress else ()), _runs(node), _after(node), "; ".join(_details(node)))
        for node in graph.nodes
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [f"graph {graph.name} {graph.version}", *(f"  {line}" for line in lines)]


def _runs(node: Node) -> str:
    return f"workflow {node.runs.name} {node.runs.version}" if isinstance(node.runs, Workflow) else f"task {node.runs.name}"


def _after(node: Node) -> str:
    if not node.depends:
        return ""
    others = [each for each in node.depends if each not in node.races]
    return f"after {', '.join([' or '.join(node.races), *others] if node.races else others)}"


def _details(node: Node) -> list[str]:
    found = []
    if node.when is not None:
        found.append(f"when {shown(node.when)}")
    if node.each is not None:
        found.append(f"each {shown(node.each)}")
    return found


def _state(progress: NodeProgress) -> str:
    count = f" {progress.done}/{progress.total}" if progress.total is not None and progress.total > 1 else ""
    return f"{progress.state}{count}"


def _mermaid(graph: "Graph[Any, Any]", progress: Mapping[str, NodeProgress]) -> list[str]:
    # Names of users stand in labels alone: ids are ours.
    ids = {node.name: f"n{number}" for number, node in enumerate(graph.nodes)}
    lines = ["flowchart TD"]
    for node in graph.nodes:
        state = [_state(progress[node.name])] if progress else []
        label = "<br/>".join(map(_escaped, [node.name, _runs(node), *_details(node), *state]))
        left, right = ("[[", "]]") if isinstance(node.runs, Workflow) else ("[", "]")
        lines.append(f'  {ids[node.name]}{left}"{label}"{right}')
    for node in graph.nodes:
        lines += [f"  {ids[each]} {'-.->' if each in node.races else '-->'} {ids[node.name]}" for each in node.depends]
    for state_name, colour in _COLOURS.items():
        if members := [ids[each.name] for each in progress.values() if each.state == state_name]:
            lines += [f"  classDef {state_name} fill:{colour}", f"  class {','.join(members)} {state_name}"]
    return lines


def _escaped(text: str) -> str:
    """As Mermaid's entities by number: whatever a label's syntax gives a meaning to."""
    return re.sub(r"[^\w .,:/()-]", lambda match: f"#{ord(match[0])};", text)
