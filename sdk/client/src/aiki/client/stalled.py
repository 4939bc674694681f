"""Stalled runs: those that nobody takes up who could.

No one writes this state. It is derived when a run is looked at, from what the run waits for and from who serves that; so it ends by itself
as soon as a worker comes.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import msgspec

from aiki.actors import roster
from aiki.actors.outbox import DEFAULT_QUEUE
from aiki.client.views import RunStatus
from aiki.journal import PendingStep, RunState
from aiki.kv import DeadStore
from aiki.types.errors import TransportError
from aiki.types.messages import Start
from aiki.types.states import is_final

if TYPE_CHECKING:
    from aiki.client.client import Client

__all__ = ["STALLED_AFTER", "Stalls"]

STALLED_AFTER = 60.0
"""Seconds for which what is waited for may find no worker before the run counts as stalled."""

REMEMBERED = 5.0
"""Seconds for which it is remembered who serves what: a list of thousands of runs asks once for each workflow and task."""

REMEMBERED_LETTERS = 1.0
"""The same, of what was given up."""


class Stalls:
    """Judges runs, by who serves what now: whoever waits for messages, or stands in the roster. `after`: seconds."""

    def __init__(self, client: "Client", after: float) -> None:
        self.after = after
        self._client = client
        self._known: dict[tuple[str, str, str], tuple[float, bool]] = {}
        self._workers: tuple[float, list[roster.WorkerInfo]] = (float("-inf"), [])
        self._dead = DeadStore(client.transport, client.subjects)
        self._letters: tuple[float, frozenset[str]] = (float("-inf"), frozenset())

    async def judge(self, status: RunStatus, waiting: RunState | Start) -> RunStatus:
        """The status, as "stalled" with what nobody serves if that is so."""
        if is_final(status.state) or status.state == "stalled":
            return status
        limit = await self._client.now() - self.after
        missing = [*await self._given_up(waiting), *[each async for each in self._missing(waiting, limit)]]
        return msgspec.structs.replace(status, state="stalled", waiting_on=tuple(missing)) if missing else status

    async def _given_up(self, waiting: RunState | Start) -> list[str]:
        """The calls of tasks that wait in the dead-letter list."""
        steps = [] if isinstance(waiting, Start) else [step for step in waiting.pending if step.kind == "task"]
        if not steps:
            return []
        now = asyncio.get_running_loop().time()
        if self._letters[0] <= now:
            found: frozenset[str] = frozenset()
            with contextlib.suppress(TransportError):  # without the list nothing was given up
                found = frozenset(await self._dead.ids())
            self._letters = (now + REMEMBERED_LETTERS, found)
        named = [(step.name, f"{waiting.run_id}-{step.serial}") for step in steps]
        return [f"task {name!r}, which was given up: see `aiki dlq show {letter}`" for name, letter in named if letter in self._letters[1]]

    async def _missing(self, waiting: RunState | Start, limit: float) -> AsyncIterator[str]:
        workflow, version = waiting.workflow, waiting.version
        if await self._waits_in_mailbox(waiting, limit):
            yield f"a worker with workflow {workflow!r} version {version!r}: nobody serves it"
        if isinstance(waiting, Start):
            return
        for step in waiting.pending:
            if step.kind == "task" and _dispatched(step) < limit:
                queue = step.queue or DEFAULT_QUEUE
                if not await self._serves("task", queue, step.name):
                    yield f"a worker with task {step.name!r} in queue {queue!r}: nobody serves it"

    async def _waits_in_mailbox(self, waiting: RunState | Start, limit: float) -> bool:
        workflow, version = waiting.workflow, waiting.version
        if isinstance(waiting, Start):
            since = waiting.created_at if waiting.due is None else waiting.due
            return since < limit and not await self._serves("run", workflow, version)
        if waiting.updated_at >= limit or await self._serves("run", workflow, version):
            return False
        if any(alarm.due < limit for alarm in waiting.alarms):
            return True
        subjects, transport = self._client.subjects, self._client.transport
        mailbox = f"{subjects.run_mail(workflow, version)}{waiting.run_id}"
        found = await asyncio.gather(*(transport.last(subjects.mail_stream, mailbox + end) for end in ("", ".start", ".word")))
        return any(message is not None and message.timestamp < limit for message in found)

    async def _serves(self, kind: str, first: str, second: str) -> bool:
        """Whether somebody takes messages for a workflow's version (`run`), or for a queue's task (`task`)."""
        now = asyncio.get_running_loop().time()
        known = self._known.get((kind, first, second))
        if known is not None and known[0] > now:
            return known[1]
        subjects, transport = self._client.subjects, self._client.transport
        if kind == "run":
            stream, durable = subjects.mail_stream, subjects.run_consumer(first, second)
        else:
            stream, durable = subjects.task_stream, subjects.task_consumer(first, second)
        served = await transport.pullers(stream, durable) > 0 or await self._is_listed(kind, first, second)
        self._known[kind, first, second] = (now + REMEMBERED, served)
        return served

    async def _is_listed(self, kind: str, first: str, second: str) -> bool:
        """A worker whose hands are full asks for nothing, but it reports."""
        now = asyncio.get_running_loop().time()
        if self._workers[0] <= now:
            self._workers = (now + REMEMBERED, await self._client.workers())
        workers = self._workers[1]
        if kind == "run":
            return any((first, second) in worker.workflows for worker in workers)
        return any((first, second) in worker.serves or (worker.queue == first and second in worker.tasks) for worker in workers)


def _dispatched(step: PendingStep) -> float:
    """When the present dispatch of a step was due, as far as the state tells."""
    if step.due is not None:
        return step.due
    return max([step.issued_at, *(attempt.finished_at for attempt in step.failed[-1:])])
