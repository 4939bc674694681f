"""Workflows: `async def` functions whose runs survive crashes, deployments and months of waiting."""

from aiki.workflow.child import ChildHandle
from aiki.workflow.context import Context
from aiki.workflow.decorator import workflow
from aiki.workflow.definition import Workflow
from aiki.workflow.hooks import HookInfo
from aiki.workflow.replay import Replayed, replay
from aiki.workflow.saga import Saga
from aiki.workflow.variables import Variables
from aiki.workflow.webhook import Webhook

__all__ = ["ChildHandle", "Context", "HookInfo", "Replayed", "Saga", "Variables", "Webhook", "Workflow", "replay", "workflow"]
