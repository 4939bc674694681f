"""Graphs of tasks as data: dependencies, conditions, fan-out and joins, validated when they are defined."""

from aiki.graph.expression import Expression, inputs, item, ref
from aiki.graph.graph import Graph, graph
from aiki.graph.node import Node, node
from aiki.graph.progress import NodeProgress, progress_of
from aiki.graph.rendering import render_run

__all__ = ["Expression", "Graph", "Node", "NodeProgress", "graph", "inputs", "item", "node", "progress_of", "ref", "render_run"]
