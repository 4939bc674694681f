"""What was asked of a run, as its journal tells it."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from aiki.journal import CancelAsked, Entry, Ignored, Paused, Received, StepsCancelled, Unpaused, Updated, WasReset, Woken

__all__ = ["MessageKind", "MessageView", "message_view", "message_views"]

MessageKind = Literal["event", "update", "cancel", "terminate", "cancel-task", "pause", "resume", "wake", "retry", "reset"]

_IGNORED: dict[str, MessageKind] = {
    "Event": "event",
    "Update": "update",
    "Cancel": "cancel",
    "CancelStep": "cancel-task",
    "Pause": "pause",
    "Unpause": "resume",
    "EndSleep": "wake",
    "Again": "retry",
    "Reset": "reset",
}


_Message = Received | Updated | CancelAsked | StepsCancelled | Paused | Unpaused | Woken | WasReset | Ignored


class MessageView(msgspec.Struct, frozen=True, kw_only=True):
    """A message that was applied to a run, once. `at`: when that was recorded; `payload`: of an event or update, a plain JSON value.

    `name`: of the event, update or task. `ignored`: it meant nothing at that time (a run was resumed that was not paused).
    """

    what: MessageKind
    id: str
    at: datetime
    name: str = ""
    payload: Any = None
    reason: str = ""
    ignored: bool = False


def message_views(history: Iterable[Entry]) -> tuple[MessageView, ...]:
    """Those in a journal, in the order in which they were applied."""
    return tuple(view for entry in history if (view := message_view(entry)) is not None)


def message_view(entry: Entry) -> MessageView | None:
    """None when the entry is no message."""
    match entry:
        case Received():
            return _made("event", entry, name=entry.name, payload=_value(entry.payload))
        case Updated():
            return _made("update", entry, name=entry.name, payload=_value(entry.payload))
        case CancelAsked():
            return _made("terminate" if entry.terminate else "cancel", entry, reason=entry.reason)
        case StepsCancelled():
            return _made("cancel-task", entry, name=entry.name, reason=entry.reason)
        case Paused():
            return _made("pause", entry, reason=entry.reason)
        case Unpaused():
            return _made("resume", entry)
        case Woken():
            return _made("wake", entry)
        case WasReset():
            return _made("reset", entry, name=entry.address.partition(":")[0].partition("!")[0], reason=entry.reason)
        case Ignored():
            return _made(_IGNORED[entry.what], entry, ignored=True)
        case _:
            return None


def _made(what: MessageKind, entry: _Message, **more: Any) -> MessageView:
    return MessageView(what=what, id=entry.id, at=datetime.fromtimestamp(entry.at, UTC), **more)


def _value(data: bytes) -> Any:
    return msgspec.json.decode(data)
