"""Clients: start runs, follow them, look at them; schedules too."""

from aiki.client.client import Client, OnConflict
from aiki.client.event import Event, event
from aiki.client.handle import RunHandle
from aiki.client.history import RunHistory
from aiki.client.schedule_views import FiringView, ScheduleView
from aiki.client.schedules import ScheduleHandle
from aiki.client.views import AttemptView, Progress, RunStatus, RunView, StepView

__all__ = [
    "AttemptView",
    "Client",
    "Event",
    "FiringView",
    "OnConflict",
    "Progress",
    "RunHandle",
    "RunHistory",
    "RunStatus",
    "RunView",
    "ScheduleHandle",
    "ScheduleView",
    "StepView",
    "event",
]
