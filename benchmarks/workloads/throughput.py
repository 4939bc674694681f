"""W1: how many runs of a few steps an engine completes in a second."""

import asyncio

from benchmarks.engine import Engine
from benchmarks.meter import Meter
from benchmarks.options import Options
from benchmarks.report import Figures
from benchmarks.workloads.start import warm_up

__all__ = ["throughput"]


async def throughput(engine: Engine, options: Options) -> Figures:
    """Start all runs, `conc` starts at a time, wait for every result; from the first start to the last result.

    With `closed`, a start waits for the result of an earlier run instead, so that `conc` runs are in flight.
    """
    await warm_up(engine)
    gate = asyncio.Semaphore(options.conc)

    async def one(label: str) -> int:
        async with gate:
            run = await engine.start("chain", label, options.steps)
            if options.closed:
                return await run.result()
        return await run.result()

    meter = await Meter.begin(engine)
    results = await asyncio.gather(*(one(f"r{number}") for number in range(options.runs)))
    meter.stop()
    if any(result != options.steps for result in results):
        raise AssertionError(f"wrong results: {sorted(set(results))}, not {options.steps}")
    speed = {"wf_s": options.runs / meter.secs, "steps_s": options.runs * options.steps / meter.secs}
    return {"n": options.runs, "steps": options.steps, "secs": meter.secs, **speed, **await meter.figures(options.runs)}
