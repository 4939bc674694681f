"""A schedule's state: one value in the store, changed only by compare-and-set.

MessagePack arrays: fields may be appended with a default, never moved or removed. Instants are seconds since the epoch.
"""

from typing import Literal

import msgspec

from aiki.schedules.schedule import Schedule

__all__ = [
    "Backfill",
    "Counts",
    "Ending",
    "Firing",
    "OutEnd",
    "OutRecall",
    "OutStart",
    "Outcome",
    "ScheduleState",
    "SetAlarm",
    "decode_schedule",
    "encode_schedule",
]

Outcome = Literal["fired", "triggered", "backfilled", "skipped", "missed", "overlapping", "buffered", "cancelled", "terminated", "refused"]
Ending = Literal["cancelled", "terminated"]
"""What a run was told to be, so that a firing can take its place."""


class Firing(msgspec.Struct, frozen=True, array_like=True):
    """What became of a firing: `planned` for one instant, decided `at` another; `run_id` when it started a run, else the reason."""

    planned: float
    at: float
    outcome: Outcome
    run_id: str | None = None
    reason: str = ""


class Counts(msgspec.Struct, array_like=True):
    """How many firings had which outcome. `fired` are the planned ones: `max_firings` bounds them.

    `cancelled` and `terminated` count the runs that were told to end, `refused` those that could not be started.
    """

    fired: int = 0
    triggered: int = 0
    backfilled: int = 0
    skipped: int = 0
    missed: int = 0
    overlapping: int = 0
    cancelled: int = 0
    terminated: int = 0
    refused: int = 0


class Backfill(msgspec.Struct, frozen=True, array_like=True):
    """A period whose firings are being made up for: what is left of it. `nonce` tells its runs from those of other backfills."""

    nonce: str
    since: float
    until: float


class OutStart(msgspec.Struct, frozen=True, array_like=True, tag="start"):
    """Owed: the start of a run."""

    run_id: str
    planned: float
    at: float
    decision: int = 0
    """Tells it from one of the same run that was taken back."""


class OutEnd(msgspec.Struct, frozen=True, array_like=True, tag="end"):
    """Owed: word to a run that it is to end, so that the next one can begin. Once per run and kind, however often it is sent."""

    run_id: str
    ending: Ending
    reason: str


class OutRecall(msgspec.Struct, frozen=True, array_like=True, tag="recall"):
    """Owed: the start of a run, which waits for its instant, is to be taken back."""

    run_id: str


class SetAlarm(msgspec.Struct, frozen=True, array_like=True, tag="alarm"):
    """Owed: an alarm."""

    serial: int
    due: float


class ScheduleState(msgspec.Struct, array_like=True):
    """All of a schedule. `born` tells a schedule from an earlier one with the same id; `revision` counts what users changed."""

    id: str
    born: str
    schedule: Schedule
    workflow: str
    version: str
    payload: bytes
    payload_hash: bytes
    created_at: float
    revision: int = 1
    serial: int = 0
    paused: bool = False
    pause_reason: str = ""
    planned: float | None = None
    """The next firing's instant; None when there is none any more."""
    alarm: SetAlarm | None = None
    counts: Counts = msgspec.field(default_factory=Counts)
    recent: list[Firing] = []
    running: list[str] = []
    """Runs that may be going on, where that matters for overlap."""
    buffered: float | None = None
    backfills: list[Backfill] = []
    outbox: list[OutStart | SetAlarm | OutEnd | OutRecall] = []
    told: dict[str, Ending] = {}
    """Those of `running` that were told to end."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(ScheduleState)
encode_schedule = _encoder.encode
decode_schedule = _decoder.decode
