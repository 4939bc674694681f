"""Limits of tasks, and who waits for them, as clients see them."""

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from aiki.actors.outbox import DEFAULT_QUEUE
from aiki.gates import LimitState, decode_gate
from aiki.journal import RunState, StepId
from aiki.kv import GateStore
from aiki.types.admission import SEPARATOR, key_of
from aiki.types.names import check_name, from_token

if TYPE_CHECKING:
    from aiki.client.client import Client

__all__ = ["KeyView", "LimitView", "at_gates", "read_limits"]

MOST_STEPS = 100
"""Of a run's steps so many are looked for at their gates."""


class KeyView(msgspec.Struct, frozen=True, kw_only=True):
    """Calls that are held back or let in alike. `keys`: that of `fair` first, then those of the limits; None where there is none."""

    priority: int
    keys: tuple[str | None, ...]
    waiting: int
    at_work: int


class LimitView(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of a task in a queue. `rules` says them in words; `waiting` counts what they hold back, `at_work` what they have let in.

    `admitted`: how many its gate has ever let in, by the keeper `keeper` last; of a task with nothing but a `concurrency` there is no gate,
    and what waits is in the queue.
    """

    queue: str
    task: str
    rules: tuple[str, ...]
    waiting: int
    at_work: int
    keys: tuple[KeyView, ...] = ()
    admitted: int | None = None
    keeper: str | None = None


async def read_limits(client: "Client", task: str | None = None) -> list[LimitView]:
    """See `Client.limits`."""
    if task is not None:
        check_name(task, "task")
    transport, subjects = client.transport, client.subjects
    views: list[LimitView] = []
    for consumer in await transport.consumers(subjects.task_stream):
        if consumer.cap is not None and consumer.filter.startswith(subjects.task_prefix):
            queue, name, *_ = map(from_token, consumer.filter.removeprefix(subjects.task_prefix).split("."))
            rules = (f"{consumer.cap} at a time",)
            views.append(LimitView(queue=queue, task=name, rules=rules, waiting=consumer.waiting, at_work=consumer.unsettled))
    store = GateStore(transport, subjects)
    for key in await store.keys():
        wanted = task is None or from_token(key.partition(".")[2]) == task
        if wanted and (view := await _read_gate(client, store, key)) is not None:
            views.append(view)
    return sorted((view for view in views if task in (None, view.task)), key=lambda view: (view.queue, view.task))


async def _read_gate(client: "Client", store: GateStore, key: str) -> LimitView | None:
    transport, subjects = client.transport, client.subjects
    room, work = subjects.waiting_room(key), f"{subjects.task_prefix}{key}."
    stored, waiting, working = await asyncio.gather(
        store.read(key), transport.subjects(subjects.task_stream, room + ">"), transport.subjects(subjects.task_stream, work + ">")
    )
    if stored is None:
        return None
    state = decode_gate(stored.value)
    waits = Counter(subject.removeprefix(room).rsplit(".", 3)[0] for subject in waiting)
    works = Counter(".".join(parts[2:4]) for subject in working if len(parts := subject.removeprefix(work).split(".")) == 5)
    keys = []
    for group in sorted(waits.keys() | works.keys(), key=lambda group: (-waits[group], group)):
        priority, _, tokens = group.partition(".")
        names = tuple(key_of(token) for token in tokens.split(SEPARATOR))
        keys.append(KeyView(priority=int(priority), keys=names, waiting=waits[group], at_work=works[group]))
    return LimitView(
        queue=state.queue,
        task=state.task,
        rules=tuple(map(_rule, state.limits)) or ("turns are taken between keys",),
        waiting=len(waiting),
        at_work=len(working),
        keys=tuple(keys),
        admitted=state.admitted,
        keeper=state.keeper,
    )


def _rule(limit: LimitState) -> str:
    each = " of each key" if limit.keyed else ""
    return f"{limit.count} at a time{each}" if limit.per is None else f"{limit.count} in {limit.per:g} s{each}"


async def at_gates(client: "Client", state: RunState) -> frozenset[StepId]:
    """Those of a run's steps that wait at their tasks' gates."""
    steps = [step for step in state.pending if step.place and step.due is None][:MOST_STEPS]
    transport, subjects = client.transport, client.subjects

    async def waits(queue: str, name: str, place: str, serial: int) -> bool:
        room = subjects.waiting_room(subjects.gate_key(queue, name))
        return await transport.last(subjects.task_stream, f"{room}{place}.{state.run_id}.{serial}") is not None

    found = await asyncio.gather(*(waits(step.queue or state.queue or DEFAULT_QUEUE, step.name, step.place, step.serial) for step in steps))
    return frozenset((step.address, step.ordinal) for step, waiting in zip(steps, found, strict=True) if waiting)
