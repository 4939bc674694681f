"""Tasks: functions whose calls from a workflow are recorded."""

from aiki.task.context import TaskContext
from aiki.task.decorator import task
from aiki.task.definition import Task
from aiki.types.retry import Retry, RetryAfter

__all__ = ["Retry", "RetryAfter", "Task", "TaskContext", "task"]
