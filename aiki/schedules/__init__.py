"""Schedules: when a workflow is to be started, and the pure part of the actor that does it."""

from aiki.schedules.calendar import between, following, upcoming
from aiki.schedules.extent import count
from aiki.schedules.schedule import Overlap, Schedule
from aiki.schedules.state import (
    Backfill,
    Counts,
    Firing,
    OutEnd,
    OutRecall,
    OutStart,
    ScheduleState,
    SetAlarm,
    decode_schedule,
    encode_schedule,
)

__all__ = [
    "Backfill",
    "Counts",
    "Firing",
    "OutEnd",
    "OutRecall",
    "OutStart",
    "Overlap",
    "Schedule",
    "ScheduleState",
    "SetAlarm",
    "between",
    "count",
    "decode_schedule",
    "encode_schedule",
    "following",
    "upcoming",
]
