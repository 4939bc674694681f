"""Workflows: `async def` functions whose runs survive crashes, deployments and months of waiting."""

from aiki.workflow.context import Context
from aiki.workflow.decorator import workflow
from aiki.workflow.definition import Workflow

__all__ = ["Context", "Workflow", "workflow"]
