"""W3: how long one run of many parallel steps takes."""

from benchmarks.engine import Engine
from benchmarks.meter import Meter
from benchmarks.options import Options
from benchmarks.report import Figures
from benchmarks.workloads.start import warm_up

__all__ = ["fan_out"]

WARM_UP_WIDTH = 20


async def fan_out(engine: Engine, options: Options) -> Figures:
    """One run that issues all its steps at once and sums what they return; timed like W2, after a small one that does not count."""
    await warm_up(engine)
    await engine.call("fan", "warm-fan", WARM_UP_WIDTH)
    meter = await Meter.begin(engine)
    result = await engine.call("fan", "fan", options.steps)
    meter.stop()
    expected = sum(range(1, options.steps + 1))
    if result != expected:
        raise AssertionError(f"wrong result: {result}, not {expected}")
    return {"n": 1, "steps": options.steps, "ms": meter.secs * 1000, **await meter.figures(1)}
