"""Tasks: functions whose calls from a workflow are recorded."""

from aiki.task.cache import TaskCache
from aiki.task.context import TaskContext
from aiki.task.decorator import task
from aiki.task.definition import Task
from aiki.types.admission import Concurrency, Rate
from aiki.types.cache import Cache
from aiki.types.retry import Retry, RetryAfter

__all__ = ["Cache", "Concurrency", "Rate", "Retry", "RetryAfter", "Task", "TaskCache", "TaskContext", "task"]
