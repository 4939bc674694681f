"""Workflows: `async def` functions whose runs survive crashes, deployments and months of waiting."""

from aiki.workflow.context import Context
from aiki.workflow.decorator import workflow
from aiki.workflow.definition import Workflow
from aiki.workflow.replay import Replayed, replay

__all__ = ["Context", "Replayed", "Workflow", "replay", "workflow"]
