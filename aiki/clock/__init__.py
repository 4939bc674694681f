"""Clocks: the machine's, and virtual time for tests and simulations."""

from aiki.clock.port import Clock
from aiki.clock.system import SystemClock
from aiki.clock.virtual import VirtualClock, VirtualTimeLoop, run_virtual

__all__ = ["Clock", "SystemClock", "VirtualClock", "VirtualTimeLoop", "run_virtual"]
