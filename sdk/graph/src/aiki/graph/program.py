"""The code of a graph's runs: it walks the nodes on the deterministic loop. Each is one step, or one per item, with a key of its own."""

import asyncio
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from aiki.graph.decision import SKIP, WAIT, decide, value_of
from aiki.graph.node import Node
from aiki.schema import content_hash
from aiki.workflow import Context

if TYPE_CHECKING:
    from aiki.graph.graph import Graph

__all__ = ["Walk", "key_of"]


def key_of(run_id: str, node: str, index: int | None, content: str | None) -> str:
    """The idempotency key of a node's step. `content`, the hash of its input, tells apart what races may make different in two attempts."""
    return f"{run_id}:{'' if index is None else index}:{node}" + (f":{content}" if content is not None else "")


class Walk:
    """One run of a graph's code: what its nodes have come to, as plain JSON values."""

    def __init__(self, graph: "Graph[Any, Any]", ctx: Context, input: Any) -> None:
        self._graph = graph
        self._ctx = ctx
        self._input = input
        self._outputs: dict[str, Any] = {}
        self._skipped: set[str] = set()
        self._running: dict[asyncio.Task[Any], Node] = {}
        self._begun: set[str] = set()
        self._dropped: set[str] = set()

    async def run(self) -> Any:
        """The graph's output. What a node's step raises goes to the caller, and the rest is cancelled."""
        try:
            self._begin(self._graph.nodes)
            while self._running:
                done, _ = await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
                # A set has no order, and the code must issue the same steps at each replay.
                ended = [(task, node) for task, node in self._running.items() if task in done]
                for task, _ in ended:
                    del self._running[task]
                for task, node in ended:
                    self._end(task, node)
                self._begin(self._dependents([node.name for _, node in ended]))
        finally:
            await _stop(self._running)
        if self._graph.output is not None:
            return value_of(self._graph.output, self._input, self._outputs)
        return {name: self._outputs[name] for name in self._graph.ends if name in self._outputs}

    def _begin(self, candidates: Iterable[Node]) -> None:
        """Begin or skip what can be; skipping may be what others wait for."""
        while candidates:
            settled: list[str] = []
            for node in candidates:
                if node.name in self._begun or node.name in self._skipped:
                    continue
                decision = decide(node, self._input, self._outputs, self._skipped)
                if decision == SKIP:
                    self._skipped.add(node.name)
                    settled.append(node.name)
                elif decision != WAIT:
                    self._begun.add(node.name)
                    self._running[asyncio.create_task(self._node(node, decision))] = node
                    settled += self._drop(node)
            candidates = self._dependents(settled)

    def _drop(self, node: Node) -> list[str]:
        """Cancel what only `node` would have needed."""
        rest = self._graph.rest_of(node)
        self._dropped |= rest
        for task, each in self._running.items():
            if each.name in rest:
                task.cancel()
        never = sorted(rest - self._begun - self._skipped)
        self._skipped.update(never)
        return never

    def _end(self, task: "asyncio.Task[Any]", node: Node) -> None:
        if node.name in self._dropped and (task.cancelled() or task.exception() is not None):
            self._skipped.add(node.name)
        else:
            self._outputs[node.name] = task.result()

    def _dependents(self, names: Iterable[str]) -> list[Node]:
        found = {each for name in names for each in self._graph.dependents[name]}
        return [node for node in self._graph.nodes if node.name in found]

    async def _node(self, node: Node, payloads: tuple[Any, ...]) -> Any:
        if node.each is None:
            return await self._step(node, None, payloads[0])
        results: list[Any] = [None] * len(payloads)
        numbers = iter(range(len(payloads)))
        lanes = [asyncio.create_task(self._lane(node, payloads, numbers, results)) for _ in range(min(node.concurrency, len(payloads)))]
        try:
            await asyncio.gather(*lanes)
        finally:
            await _stop(lanes)
        return results

    async def _lane(self, node: Node, payloads: tuple[Any, ...], numbers: Iterator[int], results: list[Any]) -> None:
        for number in numbers:
            results[number] = await self._step(node, number, payloads[number])

    async def _step(self, node: Node, index: int | None, value: Any) -> Any:
        where = f"input of node {node.name!r}"
        runs = node.runs
        payload = runs.input_schema.decode(msgspec.json.encode(value), where)
        content = content_hash(runs.input_schema.encode(payload, where)) if node.name in self._graph.racing else None
        key = key_of(self._ctx.run_id, node.name, index, content)
        result = await runs.run(self._ctx, payload, idempotency_key=key, **node.options)
        return msgspec.json.decode(runs.output_schema.encode(result, f"output of node {node.name!r}"))


async def _stop(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    left = [task for task in tasks if not task.done()]
    for task in left:
        task.cancel()
    if left:
        await asyncio.gather(*left, return_exceptions=True)
