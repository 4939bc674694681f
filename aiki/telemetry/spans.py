"""Spans: of client calls, turns, tasks and whole runs.

They are opened where work really happens, never while replaying, so none comes twice. No exception is recorded in them: its text may hold a
payload. Names and attributes follow OpenTelemetry's conventions for messaging where these have a word for the thing. Without tracing, each
yields None.
"""

import contextlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from aiki.telemetry.propagation import enabled, restore
from aiki.types.failure import ErrorInfo, type_name

if TYPE_CHECKING:
    from opentelemetry.trace import Span

__all__ = ["client_span", "fail", "run_span", "task_span", "turn_span"]

_NAME = "aiki"

_NOTHING: AbstractContextManager[None] = contextlib.nullcontext()


def client_span(operation: str, workflow: str, run_id: str) -> AbstractContextManager["Span | None"]:
    """A call of a client, for example "enqueue"."""
    return _client_span(operation, workflow, run_id) if enabled() else _NOTHING


@contextlib.contextmanager
def _client_span(operation: str, workflow: str, run_id: str) -> Iterator["Span"]:
    from opentelemetry import trace

    attributes = {
        "aiki.workflow": workflow,
        "aiki.run_id": run_id,
        "messaging.system": "nats",
        "messaging.operation.name": operation,
    }
    with trace.get_tracer(_NAME).start_as_current_span(
        f"{operation} {workflow}",
        kind=trace.SpanKind.PRODUCER,
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield span
        except BaseException as error:
            fail(span, ErrorInfo(type=type_name(type(error))))
            raise


def task_span(task: str, run_id: str, attempt: int, headers: Mapping[str, str] | None) -> AbstractContextManager["Span | None"]:
    """The execution of a task: a delivered one, whose message carries `headers`, or (None) a local step of the present context."""
    return _task_span(task, run_id, attempt, headers) if enabled() else _NOTHING


@contextlib.contextmanager
def _task_span(task: str, run_id: str, attempt: int, headers: Mapping[str, str] | None) -> Iterator["Span"]:
    from opentelemetry import trace

    local = headers is None
    with trace.get_tracer(_NAME).start_as_current_span(
        f"task {task}",
        context=None if local else restore(headers),
        kind=trace.SpanKind.INTERNAL if local else trace.SpanKind.CONSUMER,
        attributes={"aiki.task": task, "aiki.run_id": run_id, "aiki.attempt": attempt, "messaging.system": "nats"},
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        yield span


def turn_span(workflow: str, run_id: str, messages: int, stored: Mapping[str, str]) -> AbstractContextManager["Span | None"]:
    """The part of a turn that commits and sends."""
    return _turn_span(workflow, run_id, messages, stored) if enabled() else _NOTHING


@contextlib.contextmanager
def _turn_span(workflow: str, run_id: str, messages: int, stored: Mapping[str, str]) -> Iterator["Span"]:
    from opentelemetry import trace

    with trace.get_tracer(_NAME).start_as_current_span(
        f"turn {workflow}",
        context=restore(stored),
        kind=trace.SpanKind.INTERNAL,
        attributes={"aiki.workflow": workflow, "aiki.run_id": run_id, "aiki.messages": messages},
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        yield span


def run_span(
    workflow: str, run_id: str, state: str, stored: Mapping[str, str], *, started_at: float, finished_at: float, error: ErrorInfo | None
) -> None:
    """A whole run, reported once, by the host that has committed its end. Instants in seconds since the epoch."""
    if not enabled():
        return
    from opentelemetry import trace

    span = trace.get_tracer(_NAME).start_span(
        f"workflow {workflow}",
        context=restore(stored),
        kind=trace.SpanKind.INTERNAL,
        attributes={"aiki.workflow": workflow, "aiki.run_id": run_id, "aiki.state": state},
        start_time=int(started_at * 1e9),
    )
    if error is not None:
        fail(span, error)
    span.end(int(finished_at * 1e9))


def fail(span: "Span | None", error: ErrorInfo) -> None:
    """Mark a span as failed; the message may hold a payload, so only the type is told."""
    if span is None:
        return
    from opentelemetry.trace import Status, StatusCode

    span.set_status(Status(StatusCode.ERROR, error.type))
    span.set_attribute("error.type", error.type)
