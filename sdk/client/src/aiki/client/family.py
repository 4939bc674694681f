"""The sub-workflows of a run, and theirs, as a tree."""

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

from aiki.client.views import ChildView, queued_status, run_status
from aiki.journal import Entry, RecordedStep, RunState
from aiki.types.identifiers import RunId

if TYPE_CHECKING:
    from aiki.client.client import Client

__all__ = ["MOST_READ", "children_of", "read_tree"]

MOST_READ = 10_000
"""Runs of one tree that are read; of the others the ids alone are shown."""
DEEPEST = 32
AT_A_TIME = 32


def children_of(state: RunState, history: Iterable[Entry]) -> dict[str, str]:
    """(workflow by run id) of the sub-workflows that a run has started, in the order of their ends, those that go on last."""
    found = {entry.child: entry.name for entry in history if isinstance(entry, RecordedStep) and entry.child}
    return found | {step.child.run_id: step.child.workflow for step in state.pending if step.child is not None}


async def read_tree(client: "Client", state: RunState, history: Iterable[Entry]) -> tuple[ChildView, ...]:
    """The children of a run, with theirs. Bounded: `MOST_READ` runs, 32 levels; a run that is its own ancestor is not read again."""
    return await _Reader(client, state.run_id).children(children_of(state, history), 1)


class _Reader:
    def __init__(self, client: "Client", root: str) -> None:
        self._client = client
        self._seen = {root}
        self._slots = asyncio.Semaphore(AT_A_TIME)

    async def children(self, ids: dict[str, str], level: int) -> tuple[ChildView, ...]:
        reads = []
        for run_id, workflow in ids.items():
            known = run_id in self._seen or level > DEEPEST or len(self._seen) > MOST_READ
            self._seen.add(run_id)
            reads.append(self._unread(run_id, workflow) if known else self._read(run_id, workflow, level))
        return tuple(await asyncio.gather(*reads))

    async def _unread(self, run_id: str, workflow: str) -> ChildView:
        return ChildView(id=RunId(run_id), workflow=workflow, state="unknown")

    async def _queued(self, run_id: str, workflow: str) -> ChildView:
        start = await self._client.find_start(run_id)
        if start is None:
            return await self._unread(run_id, workflow)
        status = queued_status(start, self._client.clock.now())
        return ChildView(
            id=RunId(run_id), workflow=workflow, state=status.state, created_at=status.created_at, waiting_on=status.waiting_on
        )

    async def _read(self, run_id: str, workflow: str, level: int) -> ChildView:
        async with self._slots:
            found = await self._client.recorded(run_id, peek=True)
            if found is None:
                return await self._queued(run_id, workflow)
            state = found.state
            ids = children_of(state, found.journal)
        status = run_status(state)
        return ChildView(
            id=RunId(run_id),
            workflow=workflow,
            state=status.state,
            created_at=status.created_at,
            finished_at=status.finished_at,
            error=status.error,
            waiting_on=status.waiting_on,
            children=await self.children(ids, level + 1),
        )
