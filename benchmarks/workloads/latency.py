"""W2: how long one run takes from its start to its result, when nothing else is going on."""

import time

from benchmarks.engine import Engine
from benchmarks.meter import Meter
from benchmarks.options import Options
from benchmarks.percentile import percentile
from benchmarks.report import Figures
from benchmarks.workloads.start import warm_up

__all__ = ["latency"]


async def latency(engine: Engine, options: Options) -> Figures:
    """Runs one after another; each is timed from the call that starts it to its result in the client."""
    await warm_up(engine)
    samples = []
    meter = await Meter.begin(engine)
    for number in range(options.runs):
        began = time.perf_counter()
        result = await engine.call("chain", f"r{number}", options.steps)
        samples.append((time.perf_counter() - began) * 1000)
        if result != options.steps:
            raise AssertionError(f"wrong result: {result}, not {options.steps}")
    meter.stop()
    times = {"p50_ms": percentile(samples, 50), "p99_ms": percentile(samples, 99), "max_ms": max(samples)}
    return {"n": options.runs, "steps": options.steps, "secs": meter.secs, **times, **await meter.figures(options.runs)}
