"""Trace context in message headers (W3C), through the OpenTelemetry API.

The API is imported only once the application has imported it: without tracing, it costs neither start-up time nor memory.
"""

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.context import Context

__all__ = ["carry", "enabled", "outgoing", "restore"]

_CHOSEN_BY_ENVIRONMENT = "OTEL_PYTHON_TRACER_PROVIDER" in os.environ


def enabled() -> bool:
    """Whether the application has set up OpenTelemetry. Asked at each turn, so it is quick when the answer is no."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None or (trace._TRACER_PROVIDER is None and not _CHOSEN_BY_ENVIRONMENT):
        return False
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider | trace.NoOpTracerProvider)


def carry() -> dict[str, str]:
    """The present trace context, as headers to store or send; empty when there is none."""
    headers: dict[str, str] = {}
    if enabled():
        from opentelemetry import propagate

        propagate.inject(headers)
    return headers


def outgoing(stored: Mapping[str, str]) -> Mapping[str, str] | None:
    """The headers of a message that belongs to a run whose context was stored: the present span's, else the run's own."""
    return carry() or stored or None


def restore(headers: Mapping[str, str] | None) -> "Context":
    """The trace context that a message carries."""
    from opentelemetry import propagate

    return propagate.extract(dict(headers or {}))
