"""W4: how late sleepers wake that are due in one and the same second."""

import asyncio
import time
from collections.abc import Mapping, Sequence

from benchmarks.engine import Engine
from benchmarks.meter import Meter
from benchmarks.options import Options
from benchmarks.percentile import percentile
from benchmarks.procfs import pss_mb
from benchmarks.report import Figures
from benchmarks.workloads.start import start_due, warm_up

__all__ = ["late_figures", "lateness", "sleepers", "until_awake"]

STARTS_S = 1200
"""Starts a second that are reckoned with: the sleepers must all sleep before the first is due."""
PATIENCE_S = 60.0
LOOK_S = 0.25


async def sleepers(engine: Engine, options: Options) -> Figures:
    """Start runs that sleep until instants spread evenly over one second, `steps` seconds away or later.

    Lateness is from the instant to the next line of code. Memory is the highest of server and workers together.
    """
    await warm_up(engine)
    trees = engine.trees()
    roots = [*trees.server, *trees.worker]
    idle = pss_mb(roots)
    meter = await Meter.begin(engine)
    first = time.time() + max(options.steps, options.runs / STARTS_S)
    due = {f"r{number}": round((first + number / options.runs) * 1000) for number in range(options.runs)}
    began = time.perf_counter()
    await start_due(engine, due, options)
    started = time.perf_counter() - began
    missed = time.time() > first
    peak = pss_mb(roots)
    while time.time() < first + 1.0 or engine.log.count("E") < options.runs:
        if time.time() > first + PATIENCE_S:
            break
        await asyncio.sleep(LOOK_S)
        peak = max(peak, await asyncio.to_thread(pss_mb, roots))
    meter.stop()
    late = lateness(engine, due)
    return {
        "n": options.runs,
        "start_s": started,
        "started_too_late": int(missed),
        "woke": len(late),
        "lost": options.runs - len(late),
        **late_figures(late),
        **await meter.figures(options.runs),
        "idle_pss_mb": idle,
        "pss_mb": peak,
    }


def lateness(engine: Engine, due: Mapping[str, int]) -> list[float]:
    """Milliseconds from each run's instant to its next line of code; negative: too early."""
    return [event.at / 1e6 - due[event.label] for event in engine.log.events() if event.kind == "E" and event.label in due]


def late_figures(late: Sequence[float]) -> dict[str, float]:
    """Median, 99th percentile and extremes."""
    if not late:
        return {}
    return {"late_p50_ms": percentile(late, 50), "late_p99_ms": percentile(late, 99), "late_max_ms": max(late), "late_min_ms": min(late)}


async def until_awake(engine: Engine, runs: int, patience: float) -> None:
    """Wait until that many have woken, or for so many seconds."""
    limit = time.monotonic() + patience
    while engine.log.count("E") < runs:
        if time.monotonic() > limit:
            break
        await asyncio.sleep(LOOK_S)
