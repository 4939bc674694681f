"""A run's journal entries as JSON documents and as rows."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aiki.cli.output import instant, short
from aiki.journal import Entry, RecordedStep, Retried

if TYPE_CHECKING:
    from aiki.types.messages import Attempt

__all__ = ["entry_document", "entry_rows"]


def entry_document(entry: Entry) -> dict[str, Any]:
    """One entry: `entry` is "step", "tick" (timers fired) or "retried" (the workflow began again). Payloads are JSON values."""
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
        }
    if isinstance(entry, Retried):
        return {"entry": "retried", "at": _instant(entry.at), "error": entry.error}
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
            said = (entry.name, entry.worker, " ".join(outcome.split()))
        elif isinstance(entry, Retried):
            said = ("", "", f"the workflow failed and begins again: {entry.error}")
        else:
            said = ("", "", "timers fired")
        rows.append((str(number), instant(document["at"]), document["entry"], *said))
    return rows


def _instant(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
