"""The roster: which workers there are and what they serve. Each reports from time to time; an entry that is not renewed expires."""

import asyncio

import msgspec

from aiki.transport.port import Transport
from aiki.types.names import to_token
from aiki.types.subjects import Subjects

__all__ = ["EXPIRES", "REPORT_EVERY", "Load", "WorkerInfo", "read", "remove", "report"]

REPORT_EVERY = 10.0
EXPIRES = 30.0


class Load(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a worker has on its hands. Rates are per second, since its last report; `memory_mb` is resident (0: not known here)."""

    turns: int = 0
    bodies: int = 0
    cached_runs: int = 0
    cached_actors: int = 0
    runs_per_second: float = 0.0
    steps_per_second: float = 0.0
    cpu: float = 0.0
    """Cores that it uses."""
    memory_mb: float = 0.0


class WorkerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A worker, as it last reported. `workflows` are (name, version); instants are seconds since the epoch."""

    id: str
    queue: str
    host: str
    started_at: float
    reported_at: float
    workflows: tuple[tuple[str, str], ...]
    tasks: tuple[str, ...]
    max_runs: int
    max_tasks: int
    python: str = ""
    serves: tuple[tuple[str, str], ...] = ()
    """(queue, task): a task may have a queue of its own."""
    actors: tuple[str, ...] = ()
    events: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    """(workflow, version, names): of the workflows that declare their events."""
    load: Load = Load()
    aiki: str = ""
    """The version of Aiki."""


_decode = msgspec.json.Decoder(WorkerInfo).decode


async def report(transport: Transport, subjects: Subjects, worker: WorkerInfo) -> None:
    """Write the worker's entry anew."""
    await transport.publish(subjects.workers_prefix + to_token(worker.id), msgspec.json.encode(worker), ttl=EXPIRES)


async def remove(transport: Transport, subjects: Subjects, worker_id: str) -> None:
    """The worker leaves."""
    await transport.purge(subjects.workers_stream, subjects.workers_prefix + to_token(worker_id))


async def read(transport: Transport, subjects: Subjects) -> list[WorkerInfo]:
    """All workers whose entries have not expired, by id."""
    keys = await transport.subjects(subjects.workers_stream, subjects.workers_prefix + "*")
    found = await asyncio.gather(*(transport.last(subjects.workers_stream, key) for key in keys))
    return sorted((_decode(stored.data) for stored in found if stored is not None), key=lambda worker: worker.id)
