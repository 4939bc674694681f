"""Trace context in message headers (W3C), through the OpenTelemetry API."""

import os
from collections.abc import Mapping

from opentelemetry import context as otel_context
from opentelemetry import propagate, trace

__all__ = ["carry", "enabled", "outgoing", "restore"]

_from_environment = "OTEL_PYTHON_TRACER_PROVIDER" in os.environ


def enabled() -> bool:
    """Whether the application has set up OpenTelemetry. Without it, every call here costs next to nothing.

    Asked at each turn: `get_tracer_provider` looks into the environment while nothing is set up, so the provider itself is looked at first.
    """
    if trace._TRACER_PROVIDER is None and not _from_environment:
        return False
    provider = trace.get_tracer_provider()
    return not isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider)


def carry() -> dict[str, str]:
    """The present trace context, as headers to store or send; empty when there is none."""
    if not enabled():
        return {}
    headers: dict[str, str] = {}
    propagate.inject(headers)
    return headers


def outgoing(stored: Mapping[str, str]) -> Mapping[str, str] | None:
    """The headers of a message that belongs to a run whose context was stored: the present span's, else the run's own."""
    if enabled() and trace.get_current_span().get_span_context().is_valid:
        return carry()
    return stored or None


def restore(headers: Mapping[str, str] | None) -> otel_context.Context:
    """The trace context that a message carries."""
    return propagate.extract(dict(headers or {}))
