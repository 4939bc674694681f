"""Spans, counters and context propagation through the OpenTelemetry API. The SDK is the application's: without one, this costs nothing."""

from aiki.telemetry.discretion import be_discreet
from aiki.telemetry.metrics import count_cache
from aiki.telemetry.propagation import carry, enabled, outgoing, restore
from aiki.telemetry.spans import client_span, fail, run_span, task_span, turn_span

__all__ = [
    "be_discreet",
    "carry",
    "client_span",
    "count_cache",
    "enabled",
    "fail",
    "outgoing",
    "restore",
    "run_span",
    "task_span",
    "turn_span",
]
