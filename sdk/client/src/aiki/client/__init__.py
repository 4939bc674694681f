"""Clients: start runs, follow them, look at them."""

from aiki.client.client import Client, OnConflict
from aiki.client.handle import RunHandle
from aiki.client.history import RunHistory
from aiki.client.views import AttemptView, RunStatus, RunView, StepView

__all__ = ["AttemptView", "Client", "OnConflict", "RunHandle", "RunHistory", "RunStatus", "RunView", "StepView"]
