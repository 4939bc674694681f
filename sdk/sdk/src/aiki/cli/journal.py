"""A run's journal entries as JSON documents and as rows."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aiki.cli.output import instant, short
from aiki.client.words import MessageKind, message_view
from aiki.journal import Continued, Entry, Marked, RecordedStep, Retried

if TYPE_CHECKING:
    from aiki.client import MessageView
    from aiki.types.messages import Attempt

__all__ = ["entry_document", "entry_rows", "message_text"]

_MESSAGES: dict[MessageKind, str] = {
    "event": "event",
    "update": "update",
    "cancel": "cancelled",
    "terminate": "terminated",
    "cancel-task": "task-cancelled",
    "pause": "paused",
    "resume": "resumed",
    "wake": "woken",
    "retry": "retry",
    "reset": "reset",
}


def entry_document(entry: Entry) -> dict[str, Any]:
    """One entry. Payloads are JSON values.

    `entry` is "step", "tick" (timers fired), "retried" (the workflow began again), "mark" (the code came by a place), "continued" (as new:
    the journal begins here), or, of a message, "event", "update", "cancelled", "terminated", "task-cancelled", "paused", "resumed",
    "woken", "reset" (the run was taken back to a step), or "ignored" (it meant nothing then: `what` says what it was).
    """
    import msgspec

    if isinstance(entry, RecordedStep):
        return {
            "entry": "step",
            "at": _instant(entry.at),
            "name": entry.name,
            "kind": entry.kind,
            "address": entry.address,
            "ordinal": entry.ordinal,
            "queue": entry.queue,
            "issued_at": _instant(entry.issued_at),
            "started_at": _instant(entry.started_at),
            "worker": entry.worker,
            "input": msgspec.Raw(entry.input or b"null"),
            "output": msgspec.Raw(entry.value or b"null"),
            "error": entry.error,
            "failed_attempts": [_attempt(each) for each in entry.failed],
            **({"child": entry.child} if entry.child else {}),
            **({"cached": True} if entry.cached else {}),
        }
    if isinstance(entry, Retried):
        return {"entry": "retried", "at": _instant(entry.at), "error": entry.error}
    if isinstance(entry, Continued):
        return {"entry": "continued", "at": _instant(entry.at)}
    if isinstance(entry, Marked):
        return {"entry": "mark", "at": _instant(entry.at), "id": entry.id}
    if (message := message_view(entry)) is not None:
        document: dict[str, Any] = {"entry": "ignored" if message.ignored else _MESSAGES[message.what], "at": message.at, "id": message.id}
        if message.ignored:
            document["what"] = message.what
        if message.name:
            document["name"] = message.name
        if message.what in ("event", "update") and not message.ignored:
            document["payload"] = message.payload
        if message.what in ("cancel", "terminate", "cancel-task", "pause", "reset"):
            document["reason"] = message.reason
        return document
    return {"entry": "tick", "at": _instant(entry.at)}


def _attempt(attempt: "Attempt") -> dict[str, Any]:
    return {
        "number": attempt.number,
        "started_at": _instant(attempt.started_at),
        "finished_at": _instant(attempt.finished_at),
        "worker": attempt.worker,
        "error": attempt.error,
    }


def entry_rows(entries: Sequence[Entry]) -> list[tuple[str, ...]]:
    """Number, instant, what it is, and what it says."""
    rows: list[tuple[str, ...]] = []
    for number, entry in enumerate(entries, 1):
        document = entry_document(entry)
        if isinstance(entry, RecordedStep):
            outcome = f"failed: {entry.error}" if entry.error is not None else short(document["output"])
            said = (entry.name, "(cache)" if entry.cached else entry.worker, " ".join(outcome.split()))
        elif isinstance(entry, Continued):
            said = ("", "", "the code continued as new: its journal begins here")
        elif isinstance(entry, Marked):
            said = ("mark", "", f"the code came by {entry.id!r}")
        elif isinstance(entry, Retried):
            said = ("", "", f"the workflow failed and begins again: {entry.error}")
        elif (message := message_view(entry)) is not None:
            said = (message.name, "", " ".join(message_text(message).split()))
        else:
            said = ("", "", "timers fired")
        rows.append((str(number), instant(document["at"]), document["entry"], *said))
    return rows


def message_text(message: "MessageView") -> str:
    """What a message came to, in a few words."""
    if message.ignored:
        return f"{message.what}: meant nothing then"
    why = f": {message.reason}" if message.reason else ""
    said = {
        "cancel": f"the run was told to end{why}",
        "terminate": f"the run was ended{why}",
        "cancel-task": f"its outstanding calls were withdrawn{why}",
        "pause": f"what follows waits{why}",
        "resume": "the pause was over",
        "wake": "a sleep was ended early",
        "reset": f"the run was taken back to before this ended{why}",
    }
    return said.get(message.what) or short(message.payload)


def _instant(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
