"""Queues of tasks, as clients see and pause them."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from aiki.actors import queues
from aiki.types.errors import DefinitionError
from aiki.types.names import check_name, from_token

if TYPE_CHECKING:
    from aiki.client.client import Client

__all__ = ["QueueView", "TaskQueueView", "pause_queue", "read_queues", "resume_queue"]


class TaskQueueView(msgspec.Struct, frozen=True, kw_only=True):
    """One task in a queue: how many calls wait for a worker, and how many a worker has."""

    task: str
    waiting: int
    running: int


class QueueView(msgspec.Struct, frozen=True, kw_only=True):
    """A queue. `until`: when its pause ends by itself, if it does."""

    name: str
    paused: bool
    tasks: tuple[TaskQueueView, ...]
    paused_at: datetime | None = None
    until: datetime | None = None
    reason: str = ""


async def pause_queue(client: "Client", name: str, reason: str, until: datetime | None) -> None:
    """See `Client.pause_queue`."""
    now = client.clock.now()
    if until is not None and (until.tzinfo is None or until.timestamp() <= now):
        raise DefinitionError(f"until must be an instant in the future, with a time zone, not {until!r}", what="until")
    instant = None if until is None else until.timestamp()
    mark = queues.PauseMark(queue=check_name(name, "queue"), paused_at=now, until=instant, reason=reason)
    await queues.pause(client.transport, client.subjects, mark)


async def resume_queue(client: "Client", name: str) -> None:
    """See `Client.resume_queue`."""
    await queues.resume(client.transport, client.subjects, check_name(name, "queue"))


async def read_queues(client: "Client") -> list[QueueView]:
    """See `Client.queues`."""
    now = client.clock.now()
    tasks: dict[str, list[TaskQueueView]] = {}
    for queue, task, info in await queues.consumers(client.transport, client.subjects):
        view = TaskQueueView(task=from_token(task), waiting=info.waiting, running=info.unsettled)
        tasks.setdefault(from_token(queue), []).append(view)
    marks = {mark.queue: mark for mark in await queues.read_all(client.transport, client.subjects) if mark.holds(now)}
    return [_view(name, tasks.get(name, []), marks.get(name)) for name in sorted(tasks.keys() | marks.keys())]


def _view(name: str, tasks: list[TaskQueueView], mark: queues.PauseMark | None) -> QueueView:
    found = tuple(sorted(tasks, key=lambda each: each.task))
    if mark is None:
        return QueueView(name=name, paused=False, tasks=found)
    return QueueView(
        name=name,
        paused=True,
        tasks=found,
        paused_at=datetime.fromtimestamp(mark.paused_at, UTC),
        until=None if mark.until is None else datetime.fromtimestamp(mark.until, UTC),
        reason=mark.reason,
    )
