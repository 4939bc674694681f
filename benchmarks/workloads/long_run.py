"""W6: how long one run of many steps takes, one after another, and how much it writes."""

from benchmarks.engine import Engine
from benchmarks.meter import Meter
from benchmarks.options import Options
from benchmarks.report import Figures
from benchmarks.workloads.start import warm_up

__all__ = ["long_run"]


async def long_run(engine: Engine, options: Options) -> Figures:
    """One run that issues its steps one after another; timed from the call that starts it to its result in the client."""
    await warm_up(engine)
    meter = await Meter.begin(engine)
    result = await engine.call("chain", "long", options.steps)
    meter.stop()
    if result != options.steps:
        raise AssertionError(f"wrong result: {result}, not {options.steps}")
    figures = await meter.figures(1)
    written = figures.get("bytes_written")
    per_step = {} if written is None else {"bytes_written_per_step": written / options.steps}
    return {"n": 1, "steps": options.steps, "ms": meter.secs * 1000, **per_step, **figures}
