"""Identifiers: of runs, tasks, workers and schedules."""

import hashlib
import secrets
import time
from typing import NewType

__all__ = ["RunId", "ScheduleId", "TaskId", "WorkerId", "child_run_id", "is_run_id", "keyed_run_id", "new_run_id", "scheduled_run_id"]

RunId = NewType("RunId", str)
TaskId = NewType("TaskId", str)
WorkerId = NewType("WorkerId", str)
ScheduleId = NewType("ScheduleId", str)

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32: sorts as the number does, and has no look-alikes."""


def _base32(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, low = divmod(number, 32)
        digits.append(_ALPHABET[low])
    return "".join(reversed(digits))


def new_run_id() -> RunId:
    """A new unique id of 26 characters, which sorts by the time it was made (milliseconds, by this machine's clock)."""
    milliseconds = time.time_ns() // 1_000_000
    return RunId(_base32(milliseconds << 80 | secrets.randbits(80), 26))


def is_run_id(value: object) -> bool:
    """Whether a run could have this id; what is not one must not become part of a subject."""
    return type(value) is str and len(value) == 26 and value.isascii() and value.isalnum()


def keyed_run_id(workflow: str, key: str) -> RunId:
    """The id of the run that `key` names: the same for every caller, so that a second start finds the first."""
    digest = hashlib.sha256(f"{workflow}\0{key}".encode()).digest()
    return RunId("k" + _base32(int.from_bytes(digest[:16], "big"), 25))


def scheduled_run_id(schedule: str, born: str, kind: str, planned: float) -> RunId:
    """The id of the run that a firing of a schedule starts: the same for everybody who decides that firing."""
    digest = hashlib.sha256(f"{schedule}\0{born}\0{kind}\0{planned:.6f}".encode()).digest()
    return RunId("s" + _base32(int.from_bytes(digest[:16], "big"), 25))


def child_run_id(parent: str, address: str, ordinal: int | str, attempt: int) -> RunId:
    """The id of the run that a step of `parent` starts as a child: the same at each replay of that attempt of the workflow."""
    digest = hashlib.sha256(f"{parent}\0{address}\0{ordinal}\0{attempt}".encode()).digest()
    return RunId("c" + _base32(int.from_bytes(digest[:16], "big"), 25))
