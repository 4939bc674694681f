"""Tasks: functions whose calls from a workflow are recorded."""

from aiki.task.context import TaskContext
from aiki.task.decorator import task
from aiki.task.definition import Task
from aiki.types.admission import Concurrency, Rate
from aiki.types.retry import Retry, RetryAfter

__all__ = ["Concurrency", "Rate", "Retry", "RetryAfter", "Task", "TaskContext", "task"]
