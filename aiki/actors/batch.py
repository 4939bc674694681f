"""What goes into one commit of a run: how much of it, in which order, and which messages are copies of each other."""

from collections import deque

from aiki.actors.envelope import Envelope
from aiki.types.messages import (
    CacheMissed,
    Ended,
    Event,
    Mail,
    Resume,
    Start,
    StepBegun,
    StepFailedOnce,
    StepResult,
    Update,
    Wake,
    Word,
)

__all__ = ["BATCH", "BATCH_BYTES", "identity", "in_order", "weight"]

BATCH = 256
"""Messages applied in one commit at most."""

BATCH_BYTES = 256 * 1024
"""Bytes of results after which no more are applied in one commit: what a commit adds must fit into one message, what it finds is sealed."""


def identity(message: Mail) -> tuple[object, ...] | None:
    """Equal for messages that may stand on the same durable one; None for those that take the place of another."""
    match message:
        case StepResult() | StepFailedOnce() | StepBegun():
            return (message.address, message.ordinal, message.serial)
        case Wake():
            return ("wake", message.serial)
        case Resume():
            return None
        case CacheMissed():
            return ("missed", message.address, message.ordinal)
        case Start():
            return ("start",)
        case Ended():
            return ("ended", message.run_id)
        case _:
            return (type(message), message.id)


def weight(message: Mail) -> int:
    """Bytes that it adds to a commit, about."""
    match message:
        case StepResult():
            return len(message.value) if message.error is None else 4096 * (1 + len(message.failed))
        case Event() | Update():
            return len(message.payload)
        case Ended():
            return len(message.result or b"") + 4096 * (message.error is not None)
        case _:
            return 0


def in_order(batch: list[Envelope]) -> list[Envelope]:
    """The same, with each word after its predecessor if that is among them."""
    waiting: dict[str, list[Envelope]] = {}
    ids = {envelope.message.id for envelope in batch if isinstance(envelope.message, Word)}
    ordered: list[Envelope] = []
    seen: set[str] = set()
    for envelope in batch:
        message = envelope.message
        if isinstance(message, Word) and message.after in ids and message.after not in seen:
            waiting.setdefault(message.after, []).append(envelope)
            continue
        ready = deque((envelope,))
        while ready:
            each = ready.popleft()
            ordered.append(each)
            if isinstance(each.message, Word):
                seen.add(each.message.id)
                ready.extend(waiting.pop(each.message.id, ()))
    # One that was sent twice, by its idempotency key, may stand before and after another: then no order is left to keep.
    return [*ordered, *(envelope for left in waiting.values() for envelope in left)]
