"""Everything that users write with: `from aiki.sdk import task, workflow, Client, Worker`."""

from aiki.client import Client, RunHandle, RunStatus, RunView
from aiki.task import Retry, RetryAfter, Task, TaskContext, task
from aiki.types.errors import (
    AikiError,
    DefinitionError,
    IdempotencyConflict,
    InvalidName,
    NonDeterminismError,
    PayloadError,
    PayloadTooLarge,
    ResultTimeout,
    RunNotFound,
    TaskFailed,
    TaskTimedOut,
    UnknownWorkflow,
    WorkerLost,
    WorkflowCancelled,
    WorkflowFailed,
    WorkflowStuck,
    WorkflowTimedOut,
)
from aiki.types.failure import ErrorInfo
from aiki.types.identifiers import RunId, TaskId, WorkerId
from aiki.worker import Worker
from aiki.workflow import Context, Workflow, workflow

__all__ = [
    "AikiError",
    "Client",
    "Context",
    "DefinitionError",
    "ErrorInfo",
    "IdempotencyConflict",
    "InvalidName",
    "NonDeterminismError",
    "PayloadError",
    "PayloadTooLarge",
    "ResultTimeout",
    "Retry",
    "RetryAfter",
    "RunHandle",
    "RunId",
    "RunNotFound",
    "RunStatus",
    "RunView",
    "Task",
    "TaskContext",
    "TaskFailed",
    "TaskId",
    "TaskTimedOut",
    "UnknownWorkflow",
    "Worker",
    "WorkerId",
    "WorkerLost",
    "Workflow",
    "WorkflowCancelled",
    "WorkflowFailed",
    "WorkflowStuck",
    "WorkflowTimedOut",
    "task",
    "workflow",
]
