"""The streams and buckets of a region, declared in one place and created by `aiki init`."""

import asyncio
from typing import Literal

from aiki.transport.port import ConsumerSpec, StreamSpec, Transport
from aiki.types.errors import StreamMissing, TopologyMismatch
from aiki.types.subjects import Subjects

__all__ = ["ACK_WAIT", "beats", "check", "consumer", "init", "streams"]

Storage = Literal["file", "memory"]

ACK_WAIT = 3.0
"""Seconds without a sign of life after which a message is given to another worker. A false alarm costs work and nothing else."""

DEDUPE_WINDOW = 120.0

ESSENTIAL = ("subjects", "retention", "history", "allow_ttl", "allow_schedules", "republish")
"""Settings of a stream without which work would be lost or never come; where and how often it is stored is the operator's choice."""


def streams(subjects: Subjects, *, replicas: int = 1, storage: Storage = "file") -> tuple[StreamSpec, ...]:
    """What the region needs."""

    def bucket(name: str, prefix: str, republish: tuple[str, str, bool] | None = None) -> StreamSpec:
        # No markers of what has expired: with one, a run could not be created anew under its key.
        return StreamSpec(
            name=name,
            subjects=(prefix + ">",),
            history=1,
            allow_direct=True,
            allow_ttl=True,
            allow_rollup=True,
            republish=republish,
            dedupe_window=DEDUPE_WINDOW,
            storage=storage,
            replicas=replicas,
        )

    def work_queue(name: str, *prefixes: str) -> StreamSpec:
        return StreamSpec(
            name=name,
            subjects=tuple(prefix + ">" for prefix in prefixes),
            retention="workqueue",
            allow_direct=True,
            allow_ttl=True,
            allow_schedules=True,
            dedupe_window=DEDUPE_WINDOW,
            storage=storage,
            replicas=replicas,
        )

    # Each commit of a run also goes to a core subject: watchers need neither a consumer nor polling.
    live = (subjects.runs_prefix + "*", subjects.live_prefix + "{{wildcard(1)}}", False)
    return (
        bucket(subjects.runs_stream, subjects.runs_prefix, live),
        work_queue(subjects.mail_stream, subjects.mail_prefix, subjects.timer_prefix),
        work_queue(subjects.task_stream, subjects.task_prefix, subjects.delay_prefix, subjects.wait_prefix, subjects.gate_prefix),
        bucket(subjects.schedules_stream, subjects.schedules_prefix),
        bucket(subjects.actors_stream, subjects.actors_prefix),
        bucket(subjects.gates_stream, subjects.gates_prefix),
        bucket(subjects.secrets_stream, subjects.secrets_prefix),
        bucket(subjects.workers_stream, subjects.workers_prefix),
        bucket(subjects.dead_stream, subjects.dead_prefix),
        bucket(subjects.cache_stream, subjects.cache_prefix),
        bucket(subjects.blobs_stream, subjects.blobs_prefix),
        beats(subjects, replicas=replicas),
    )


def beats(subjects: Subjects, *, replicas: int = 1) -> StreamSpec:
    """The bucket of heartbeats. It is in memory, so a single server's restart takes it away: workers make it again, and can do without."""
    return StreamSpec(
        name=subjects.beats_stream,
        subjects=(subjects.beats_prefix + ">",),
        history=1,
        allow_direct=True,
        allow_ttl=True,
        allow_rollup=True,
        dedupe_window=DEDUPE_WINDOW,
        storage="memory",
        replicas=replicas,
    )


async def init(
    transport: Transport, *, region: str = "default", replicas: int | None = None, update: bool = False, storage: Storage = "file"
) -> dict[str, str]:
    """Create what is missing; answers what was done, per stream ("created", "unchanged", "updated").

    `replicas`: copies of each stream (None: as many as the region has, of a new one 1). A stream with other settings raises
    `TopologyMismatch`, unless `update` brings it to ours.
    """
    subjects = Subjects(region)
    if replicas is None:
        present = await transport.stream(subjects.runs_stream)
        replicas = 1 if present is None else present.replicas
    specs = streams(subjects, replicas=replicas, storage=storage)
    return {spec.name: await transport.ensure_stream(spec, update=update) for spec in specs}


async def check(transport: Transport, subjects: Subjects) -> None:
    """Raise `StreamMissing`, which names `aiki init`, unless the region has its streams, `TopologyMismatch` for harmful settings."""
    specs = [spec for spec in streams(subjects) if spec.name != subjects.beats_stream]
    found = dict(zip(specs, await asyncio.gather(*(transport.stream(spec.name) for spec in specs)), strict=True))
    mended_by = f"aiki init --region {subjects.region}"
    if any(found.values()):  # it is of an earlier release, perhaps
        mended_by += " --update"
    for spec, present in found.items():
        if present is None:
            raise StreamMissing(
                f"region {subjects.region!r} has no stream {spec.name!r}: create what it lacks with `{mended_by}`",
                stream=spec.name,
                region=subjects.region,
            )
        different = {
            name: (getattr(present, name), getattr(spec, name)) for name in ESSENTIAL if getattr(present, name) != getattr(spec, name)
        }
        if set(spec.subjects) <= set(present.subjects):
            different.pop("subjects", None)
        if different:
            settings = ", ".join(f"{name} is {is_now!r}, not {wanted!r}" for name, (is_now, wanted) in different.items())
            raise TopologyMismatch(
                f"stream {spec.name} has other settings ({settings}): `{mended_by}` changes what it can",
                name=spec.name,
                differences=different,
            )


def consumer(stream: str, durable: str, prefix: str, *, at_a_time: int = -1) -> ConsumerSpec:
    """A durable pull consumer of everything below `prefix`, which hands out at most so many messages `at_a_time` (-1: any number)."""
    return ConsumerSpec(stream=stream, durable=durable, filter=prefix + ">", ack_wait=ACK_WAIT, max_ack_pending=at_a_time)
