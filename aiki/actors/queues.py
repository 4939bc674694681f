"""Queues that are paused as a whole: a durable mark per queue, and the consumers of its tasks.

The mark is for workers that come later with tasks that the queue did not have. Whoever pauses writes the mark, then pauses the consumers
that there are; a worker makes its consumer, then reads the mark: one of the two sees the other.
"""

import asyncio
import math

import msgspec

from aiki.transport.port import ConsumerInfo, Transport
from aiki.transport.surely import surely
from aiki.types.names import to_token
from aiki.types.subjects import Subjects

__all__ = ["PauseMark", "consumers", "holding", "obey", "pause", "read_all", "resume"]


class PauseMark(msgspec.Struct, frozen=True, kw_only=True):
    """A queue is paused. Instants are seconds since the epoch; without `until` it is until further notice."""

    queue: str
    paused_at: float
    until: float | None = None
    reason: str = ""

    def holds(self, now: float) -> bool:
        """Whether the pause is not over yet."""
        return self.until is None or now < self.until


_decode = msgspec.json.Decoder(PauseMark).decode


async def pause(transport: Transport, subjects: Subjects, mark: PauseMark) -> None:
    """Write the mark and pause what there is."""
    await surely(lambda: transport.publish(subjects.queue_mark(mark.queue), msgspec.json.encode(mark)))
    await _set_all(transport, subjects, mark.queue, mark)


async def resume(transport: Transport, subjects: Subjects, queue: str) -> None:
    """Take the mark away and let the consumers go on."""
    await transport.purge(subjects.workers_stream, subjects.queue_mark(queue))
    await _set_all(transport, subjects, queue, None)


async def obey(transport: Transport, subjects: Subjects, queue: str, durable: str, now: float) -> None:
    """A consumer of the queue was made, or found: pause it if the queue is paused."""
    applied = None
    while (mark := await holding(transport, subjects, queue, now)) != applied:  # it may have changed meanwhile
        await _set(transport, subjects, durable, mark)
        applied = mark


async def holding(transport: Transport, subjects: Subjects, queue: str, now: float) -> PauseMark | None:
    """The mark of a queue that is paused now."""
    mark = await _read(transport, subjects.workers_stream, subjects.queue_mark(queue))
    return mark if mark is not None and mark.holds(now) else None


async def read_all(transport: Transport, subjects: Subjects) -> list[PauseMark]:
    """The marks of all queues."""
    stream = subjects.workers_stream
    keys = await transport.subjects(stream, subjects.queue_mark_prefix + "*")
    found = await asyncio.gather(*(_read(transport, stream, key) for key in keys))
    return [mark for mark in found if mark is not None]


async def consumers(transport: Transport, subjects: Subjects, queue: str | None = None) -> list[tuple[str, str, ConsumerInfo]]:
    """(queue token, task token, consumer) of the tasks of a queue, or of all."""
    found = []
    for info in await transport.consumers(subjects.task_stream):
        if info.filter.startswith(subjects.task_prefix):
            of, task, *_ = info.filter.removeprefix(subjects.task_prefix).split(".")
            if queue is None or of == to_token(queue):
                found.append((of, task, info))
    return found


async def _set_all(transport: Transport, subjects: Subjects, queue: str, mark: PauseMark | None) -> None:
    there_are = await consumers(transport, subjects, queue)
    await asyncio.gather(*(_set(transport, subjects, info.durable, mark) for _, _, info in there_are))


async def _set(transport: Transport, subjects: Subjects, durable: str, mark: PauseMark | None) -> None:
    until = None if mark is None else math.inf if mark.until is None else mark.until
    await transport.pause_consumer(subjects.task_stream, durable, until)


async def _read(transport: Transport, stream: str, key: str) -> PauseMark | None:
    stored = await transport.last(stream, key)
    return None if stored is None else _decode(stored.data)
