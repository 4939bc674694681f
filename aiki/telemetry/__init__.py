"""Spans and context propagation through the OpenTelemetry API. The SDK is the application's: without one, nothing here costs anything."""

from aiki.telemetry.discretion import be_discreet
from aiki.telemetry.propagation import carry, enabled, outgoing, restore
from aiki.telemetry.spans import client_span, fail, run_span, task_span, turn_span

__all__ = ["be_discreet", "carry", "client_span", "enabled", "fail", "outgoing", "restore", "run_span", "task_span", "turn_span"]
