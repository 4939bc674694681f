"""What stays public of what is sealed, by subject: so much as lists, the timer service and those without the key need.

Public: ids, names (of workflows, tasks, queues, events), versions, states, instants, idempotency keys, the kind and code of an error.
"""

import functools
from typing import Literal

import msgspec

from aiki.journal import RunState, decode_state, encode_state
from aiki.types.failure import ErrorInfo
from aiki.types.letters import decode_letter, encode_letter
from aiki.types.messages import Ended, Start, decode_mail, decode_start, encode

__all__ = ["Kind", "context_of", "disclose", "kind_of", "public_error", "public_letter", "public_start", "public_state", "without_secrets"]

Kind = Literal["plain", "state", "start", "schedule-mail", "letter", "other"]

_BUCKETS = "$KV.aiki-"
_PLAIN = frozenset({"schedules", "secrets", "workers", "withdrawn", "gates"})
"""Schedules hold one payload, which is sealed by itself (`aiki.sealing.inputs`). The rest: names, numbers, and the keys of webhooks. What a
gate holds stands in subjects anyway, and any worker may have to keep it."""

_DEAD: dict[str, Kind] = {"letter": "letter", "taken": "plain"}
"""Of what is given up: its letter, but for the text about a message; and who has taken it up. The messages themselves are sealed."""

_DISPATCHES = frozenset({"task", "wait"})


_BLOB_NAMES = frozenset({"meta", "ref"})
"""Of large payloads, how long they are and which runs refer to them: who collects them need have no key."""


def kind_of(subject: str) -> Kind:
    """How that is treated which stands on a subject. Whatever is not known is sealed."""
    if subject.startswith(_BUCKETS):
        bucket = subject[len(_BUCKETS) :].partition("-")[0]
        if bucket == "runs":
            return "state" if subject.count(".") == 2 else "other"
        if bucket == "blobs":
            return "plain" if subject.split(".")[2] in _BLOB_NAMES else "other"
        if bucket == "dead":
            return _DEAD.get(subject.split(".", 3)[2], "other")
        return "plain" if bucket in _PLAIN else "other"
    if not subject.startswith("aiki."):
        return "other"
    _, _, kind, rest = f"{subject}...".split(".", 3)
    if kind in _PLAIN:
        return "plain"
    if kind == "mail":
        if rest.startswith("schedule."):
            return "schedule-mail"
        if rest.startswith("run.") and ".start..." in rest:
            return "start"
    return "other"


def context_of(subject: str) -> str:
    """What is sealed on a subject is sealed for it; a run's announced commits, which the server republishes, for where they are stored.

    A dispatch is sealed for its queue, task, run and serial, wherever it waits: who moves it from a gate to its queue may lack the key.
    """
    if subject.startswith("aiki."):
        _, region, kind, rest = f"{subject}...".split(".", 3)
        if kind == "live":
            return f"{_BUCKETS}runs-{region}.{rest[:-3]}"
        if kind in _DISPATCHES:
            queue, task, *tokens = rest[:-3].split(".")
            if kind == "wait" and len(tokens) == 5:
                tokens = tokens[3:]
            return ".".join(("aiki", region, "task", queue, task, *tokens[:2]))
    return subject


def disclose(kind: Kind, data: bytes, key: str) -> bytes:
    """The public part of what is about to be sealed with that key."""
    if kind == "state":
        return _blanked(data, key) or encode_state(public_state(decode_state(data), key))
    if kind == "start":
        return encode(public_start(decode_start(data), key))
    return b""


def without_secrets(data: bytes) -> bytes:
    """A message to a schedule, whose service may have no key: it needs to know that a run has ended, and not how."""
    message = decode_mail(data)
    if isinstance(message, Ended):
        return encode(Ended(message.run_id, message.status, None, public_error(message.error)))
    return data


def public_letter(data: bytes) -> bytes:
    """A dead letter. Why a message cannot be read is told by its decoder, which may quote it."""
    letter = decode_letter(data)
    return encode_letter(msgspec.structs.replace(letter, reason="it cannot be read")) if letter.kind == "message" else data


def public_start(start: Start, key: str) -> Start:
    """A start without what is secret."""
    return msgspec.structs.replace(start, input=b"", input_hash=b"", salt=b"", locked=key)


def public_state(state: RunState, key: str) -> RunState:
    """A state without what is secret."""
    paused, cancelled = state.paused, state.cancelled
    return RunState(
        run_id=state.run_id,
        workflow=state.workflow,
        version=state.version,
        status=state.status,
        attempt=state.attempt,
        input=b"",
        input_hash=b"",
        key=state.key,
        created_at=state.created_at,
        started_at=state.started_at,
        updated_at=state.updated_at,
        finished_at=state.finished_at,
        error=public_error(state.error),
        held=public_error(state.held),
        host=state.host,
        serial=state.serial,
        retry_at=state.retry_at,
        alarms=state.alarms,
        begins_at=state.begins_at,
        parent=state.parent,
        queue=state.queue,
        paused=None if paused is None else msgspec.structs.replace(paused, reason=""),
        cancelled=None if cancelled is None else msgspec.structs.replace(cancelled, reason=""),
        waits=state.waits,
        worker=state.worker,
        locked=key,
    )


def public_error(error: ErrorInfo | None) -> ErrorInfo | None:
    """Of an error, its kind: its text may hold anything."""
    return None if error is None else ErrorInfo(type=error.type, code=error.code, limit=error.limit)


_FIELDS = RunState.__struct_fields__
_NIL, _EMPTY, _NONE = msgspec.Raw(b"\xc0"), msgspec.Raw(b"\xc4\x00"), msgspec.Raw(b"\x90")
_BLANKS = tuple(
    (_FIELDS.index(name), blank)
    for name, blank in {
        "input": _EMPTY,
        "input_hash": _EMPTY,
        "result": _NIL,
        "sealed": _NONE,
        "entries": _NONE,
        "pending": _NONE,
        "outbox": _NONE,
        "published": _NONE,
        "salt": _EMPTY,
    }.items()
)
_MIXED = tuple(_FIELDS.index(name) for name in ("error", "held", "paused", "cancelled"))
_LOCKED = _FIELDS.index("locked")
_parts = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode


def _blanked(data: bytes, key: str) -> bytes | None:
    """The public part of an encoded state, without decoding what it is made of; None when some of its fields are public in part.

    Each commit is sealed, and few have such fields.
    """
    parts = _parts(data)
    if len(parts) < _LOCKED:
        return None
    for at in _MIXED:
        if parts[at] != _NIL:
            return None
    for at, blank in _BLANKS:
        parts[at] = blank
    parts[_LOCKED:] = (_locked_with(key),)
    return encode_state(parts)


@functools.lru_cache(64)
def _locked_with(key: str) -> msgspec.Raw:
    return msgspec.Raw(encode_state(key))
