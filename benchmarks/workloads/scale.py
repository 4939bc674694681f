"""W7: what many sleeping runs cost, and what the death of the server under them does."""

import asyncio
import time
from collections import Counter

from benchmarks.engine import Engine, RestartsServer
from benchmarks.options import Options
from benchmarks.procfs import cpu_seconds, pss_mb
from benchmarks.report import Figures
from benchmarks.workloads.sleepers import late_figures, lateness, until_awake
from benchmarks.workloads.start import start_due, warm_up

__all__ = ["scale"]

STARTS_S = 3000
"""Starts a second that are reckoned with: all must sleep before the first is due."""
SLACK_S = 12.0
PATIENCE_S = 300.0
IDLE_S = 3.0
BUSY = 0.2
"""Of a core: a worker that needs less takes up no starts."""


async def scale(engine: Engine, options: Options) -> Figures:
    """Start sleeping runs; look at memory; SIGKILL the server and start it again; wait until all have woken, over `steps` seconds."""
    if not isinstance(engine, RestartsServer):
        raise TypeError("this engine's server cannot be restarted")
    await warm_up(engine)
    trees = engine.trees()
    server, worker = pss_mb(trees.server), pss_mb(trees.worker)
    runs = options.runs
    first = time.time() + runs / STARTS_S + SLACK_S
    due = {f"r{number}": round((first + options.steps * number / runs) * 1000) for number in range(runs)}
    began = time.perf_counter()
    await start_due(engine, due, options)
    started = time.perf_counter() - began
    idle = await _at_rest(engine, first)
    server_then, worker_then = pss_mb(trees.server), pss_mb(trees.worker)
    missed = time.time() > first
    restart = await engine.restart_server()
    server_restarted = pss_mb(engine.trees().server)
    await until_awake(engine, runs, first + options.steps - time.time() + PATIENCE_S)
    wakes = Counter(event.label for event in engine.log.events() if event.kind == "E")
    woke = sum(label in wakes for label in due)
    return {
        "n": runs,
        "start_s": started,
        "started_too_late": int(missed),
        "server_bytes_per_run": (server_then - server) * 1024 * 1024 / runs,
        "worker_bytes_per_run": (worker_then - worker) * 1024 * 1024 / runs,
        "server_restarted_bytes_per_run": (server_restarted - server) * 1024 * 1024 / runs,
        "server_mb": server_then,
        "server_restarted_mb": server_restarted,
        "worker_mb": worker_then,
        "worker_idle_cpu": idle,
        "restart_s": restart,
        "woke": woke,
        "lost": runs - woke,
        "woke_more_than_once": sum(count > 1 for count in wakes.values()),
        "spread_s": options.steps,
        **late_figures(lateness(engine, due)),
    }


async def _at_rest(engine: Engine, limit: float) -> float:
    """Wait until the worker has taken up all starts; the share of a core that it needs then."""
    while True:
        before = cpu_seconds(engine.trees().worker)
        await asyncio.sleep(IDLE_S)
        idle = (cpu_seconds(engine.trees().worker) - before) / IDLE_S
        if idle < BUSY or time.time() > limit:
            return idle
