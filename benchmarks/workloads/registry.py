"""Which workloads there are."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from benchmarks.engine import Engine
from benchmarks.options import Options
from benchmarks.report import Figures
from benchmarks.workloads.crash import crash
from benchmarks.workloads.fan_out import fan_out
from benchmarks.workloads.latency import latency
from benchmarks.workloads.long_run import long_run
from benchmarks.workloads.scale import scale
from benchmarks.workloads.sleepers import sleepers
from benchmarks.workloads.throughput import throughput

__all__ = ["WORKLOADS", "UnknownWorkload", "Workload", "find"]


class UnknownWorkload(Exception):
    """There is no workload of that name; the message lists those there are."""


@dataclass(frozen=True)
class Workload:
    """A workload, how much it does unless told otherwise, and the figure it is compared by."""

    title: str
    measure: Callable[[Engine, Options], Awaitable[Figures]]
    runs: int
    steps: int
    logs_steps: bool
    """Whether step bodies write to the step log; throughput is measured without."""


WORKLOADS = {
    "W1": Workload("throughput", throughput, runs=500, steps=5, logs_steps=False),
    "W2": Workload("latency", latency, runs=100, steps=5, logs_steps=True),
    "W3": Workload("fan-out", fan_out, runs=1, steps=200, logs_steps=True),
    "W4": Workload("sleepers", sleepers, runs=2000, steps=5, logs_steps=True),
    "W5": Workload("crash", crash, runs=50, steps=20, logs_steps=True),
    "W6": Workload("long run", long_run, runs=1, steps=1000, logs_steps=False),
    "W7": Workload("scale", scale, runs=200_000, steps=120, logs_steps=True),
}


def find(name: str) -> Workload:
    """The workload of that name; raises `UnknownWorkload`."""
    try:
        return WORKLOADS[name]
    except KeyError:
        known = ", ".join(f"{each} ({workload.title})" for each, workload in WORKLOADS.items())
        raise UnknownWorkload(f"there is no workload {name!r}; there are: {known}") from None
