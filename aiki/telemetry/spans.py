"""Spans: of client calls, turns, tasks and whole runs.

They are opened where work really happens, never while replaying, so none comes twice.

Names and attributes follow OpenTelemetry's conventions for messaging where these have a word for the thing.
"""

import contextlib
from collections.abc import Iterator, Mapping

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.util.types import AttributeValue

from aiki.telemetry.propagation import enabled, restore
from aiki.types.failure import ErrorInfo

__all__ = ["client_span", "fail", "run_span", "task_span", "turn_span"]

_NAME = "aiki"


@contextlib.contextmanager
def client_span(operation: str, workflow: str, run_id: str) -> Iterator[Span]:
    """A call of a client, for example "enqueue"."""
    if not enabled():
        yield trace.INVALID_SPAN
        return
    attributes: dict[str, AttributeValue] = {
        "aiki.workflow": workflow,
        "aiki.run_id": run_id,
        "messaging.system": "nats",
        "messaging.operation.name": operation,
    }
    with trace.get_tracer(_NAME).start_as_current_span(f"{operation} {workflow}", kind=SpanKind.PRODUCER, attributes=attributes) as span:
        yield span


@contextlib.contextmanager
def task_span(task: str, run_id: str, attempt: int, headers: Mapping[str, str] | None) -> Iterator[Span]:
    """The execution of a delivered task."""
    if not enabled():
        yield trace.INVALID_SPAN
        return
    attributes: dict[str, AttributeValue] = {"aiki.task": task, "aiki.run_id": run_id, "aiki.attempt": attempt, "messaging.system": "nats"}
    tracer = trace.get_tracer(_NAME)
    with tracer.start_as_current_span(f"task {task}", context=restore(headers), kind=SpanKind.CONSUMER, attributes=attributes) as span:
        yield span


@contextlib.contextmanager
def turn_span(workflow: str, run_id: str, messages: int, stored: Mapping[str, str]) -> Iterator[Span]:
    """The part of a turn that applies messages, commits and sends."""
    if not enabled():
        yield trace.INVALID_SPAN
        return
    attributes: dict[str, AttributeValue] = {"aiki.workflow": workflow, "aiki.run_id": run_id, "aiki.messages": messages}
    tracer = trace.get_tracer(_NAME)
    with tracer.start_as_current_span(f"turn {workflow}", context=restore(stored), kind=SpanKind.INTERNAL, attributes=attributes) as span:
        yield span


def run_span(
    workflow: str, run_id: str, state: str, stored: Mapping[str, str], *, started_at: float, finished_at: float, error: ErrorInfo | None
) -> None:
    """A whole run, reported once, by the host that has committed its end. Instants in seconds since the epoch."""
    if not enabled():
        return
    span = trace.get_tracer(_NAME).start_span(
        f"workflow {workflow}",
        context=restore(stored),
        kind=SpanKind.INTERNAL,
        attributes={"aiki.workflow": workflow, "aiki.run_id": run_id, "aiki.state": state},
        start_time=int(started_at * 1e9),
    )
    if error is not None:
        fail(span, error)
    span.end(int(finished_at * 1e9))


def fail(span: Span, error: ErrorInfo) -> None:
    """Mark a span as failed; the message may hold a payload, so only the type is told."""
    span.set_status(Status(StatusCode.ERROR, error.type))
    span.set_attribute("error.type", error.type)
