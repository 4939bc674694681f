"""W5: what a worker's death costs: time, and steps that run again."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Iterable

from benchmarks.engine import Engine, Step
from benchmarks.options import Options
from benchmarks.report import Figures
from benchmarks.steplog import Event
from benchmarks.workloads.start import start_all, warm_up

__all__ = ["crash", "repeated", "run_again"]

RESTART_AFTER_S = 0.2
PATIENCE_S = 90.0


async def crash(engine: Engine, options: Options) -> Figures:
    """Start all runs, SIGKILL the worker when half of all steps have begun, restart it 0.2 s later, wait for every result.

    Between the two, what the store has recorded is read, with nobody there to change it: a step that stands there and begins
    once more after that has run although its result was recorded.
    """
    await warm_up(engine)
    labels = [f"r{number}" for number in range(options.runs)]
    runs = await start_all(engine, "slow_chain", labels, options)
    results = [asyncio.ensure_future(run.result()) for run in runs]
    total = options.runs * options.steps
    try:
        killed_after = await _until_begun(engine, total // 2)
        engine.kill_worker()
        killed = time.perf_counter()
        recorded = await engine.recorded(labels)
        recorded_at = time.time_ns()
        await asyncio.sleep(max(0.0, RESTART_AFTER_S - (time.perf_counter() - killed)))
        restarted = time.perf_counter()
        await engine.restart_worker()
        await asyncio.wait(results, timeout=PATIENCE_S)
        recovered = time.perf_counter()
    finally:
        for result in results:
            result.cancel()
        answers = await asyncio.gather(*results, return_exceptions=True)
    events = list(engine.log.events())
    finished = {Step(event.label, event.step) for event in events if event.kind == "E"}
    return {
        "n": options.runs,
        "steps": options.steps,
        "killed_after_s": killed_after,
        "recover_s": recovered - restarted,
        "started_more_than_once": repeated(events, "S"),
        "finished_more_than_once": repeated(events, "E"),
        "recorded_at_kill": None if recorded is None else len(recorded),
        "recorded_more_than_once": None if recorded is None else run_again(events, recorded, recorded_at),
        "never_finished": total - len(finished),
        "lost": sum(answer != options.steps for answer in answers),
    }


async def _until_begun(engine: Engine, steps: int) -> float:
    """Wait until that many step bodies have begun; the seconds it took."""
    began = time.perf_counter()
    while engine.log.count("S") < steps:
        if time.perf_counter() - began > PATIENCE_S:
            raise TimeoutError(f"{steps} steps did not begin within {PATIENCE_S} s")
        await asyncio.sleep(0.01)
    return time.perf_counter() - began


def repeated(events: Iterable[Event], kind: str) -> int:
    """How many steps have more than one event of a kind."""
    counts = Counter((event.label, event.step) for event in events if event.kind == kind)
    return sum(count > 1 for count in counts.values())


def run_again(events: Iterable[Event], recorded: set[Step], recorded_at: int) -> int:
    """How many steps began after the instant at which their result was seen in the store."""
    starts: dict[Step, list[int]] = defaultdict(list)
    for event in events:
        if event.kind == "S":
            starts[Step(event.label, event.step)].append(event.at)
    return sum(any(at > recorded_at for at in starts[step]) for step in recorded)
