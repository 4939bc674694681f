"""Starting many runs, a bounded number of them at a time."""

import asyncio
from collections.abc import Mapping, Sequence

from benchmarks.engine import Engine, Run, Workflow
from benchmarks.options import Options

__all__ = ["start_all", "start_due", "warm_up"]

WARM_UP_RUNS = 30
WARM_UP_STEPS = 5


async def start_all(engine: Engine, workflow: Workflow, labels: Sequence[str], options: Options) -> list[Run]:
    """Start a run per label, at most `conc` starts at a time; returns when every one is accepted."""
    gate = asyncio.Semaphore(options.conc)

    async def start(label: str) -> Run:
        async with gate:
            return await engine.start(workflow, label, options.steps)

    return list(await asyncio.gather(*(start(label) for label in labels)))


async def start_due(engine: Engine, due: Mapping[str, int], options: Options) -> None:
    """Start a sleeper per label, due at its instant (in ms since the epoch), at most `conc` starts at a time. Nobody waits for them."""
    labels = iter(due.items())

    async def start() -> None:
        for label, instant in labels:
            await engine.start("sleeper", label, instant)

    await asyncio.gather(*(start() for _ in range(options.conc)))


async def warm_up(engine: Engine) -> None:
    """A few runs that count for nothing: connections are open and code is loaded before the clock starts."""
    await asyncio.gather(*(engine.call("chain", f"warm-{number}", WARM_UP_STEPS) for number in range(WARM_UP_RUNS)))
    engine.log.clear()
