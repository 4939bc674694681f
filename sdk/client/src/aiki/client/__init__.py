"""Clients: start runs, follow them, look at them; schedules too."""

from aiki.client.advice import Advice, Proposal
from aiki.client.archiver import Archiver
from aiki.client.blobs import BlobView, Collected
from aiki.client.cached import CachedView
from aiki.client.client import Client, OnConflict
from aiki.client.dead_letters import DeadLetters, DeadLetterView
from aiki.client.event import Event, event
from aiki.client.handle import RunHandle
from aiki.client.history import RunHistory
from aiki.client.limits import KeyView, LimitView
from aiki.client.many import Done, Report
from aiki.client.queues import QueueView
from aiki.client.schedule_views import FiringView, ScheduleView
from aiki.client.schedules import ScheduleHandle
from aiki.client.versions import VersionView
from aiki.client.views import AttemptView, ChildView, Progress, RunStatus, RunView, StepView
from aiki.client.waits import WaitView
from aiki.client.words import MessageView

__all__ = [
    "Advice",
    "Archiver",
    "AttemptView",
    "BlobView",
    "CachedView",
    "ChildView",
    "Client",
    "Collected",
    "DeadLetterView",
    "DeadLetters",
    "Done",
    "Event",
    "FiringView",
    "KeyView",
    "LimitView",
    "MessageView",
    "OnConflict",
    "Progress",
    "Proposal",
    "QueueView",
    "Report",
    "RunHandle",
    "RunHistory",
    "RunStatus",
    "RunView",
    "ScheduleHandle",
    "ScheduleView",
    "StepView",
    "VersionView",
    "WaitView",
    "event",
]
