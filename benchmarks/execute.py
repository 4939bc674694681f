"""One benchmark run, in this process, with its server on a fresh store in a temporary folder."""

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from benchmarks.engine import Engine
from benchmarks.options import Options
from benchmarks.report import line
from benchmarks.steplog import StepLog
from benchmarks.workloads.registry import find

__all__ = ["EngineFactory", "execute"]

EngineFactory = Callable[[Options, Path, StepLog], AbstractAsyncContextManager[Engine]]


async def execute(options: Options, factory: EngineFactory) -> str:
    """Run the workload and answer its line. When it fails, the processes' logs go to stderr, and the folder away all the same."""
    workload = find(options.workload)
    load = os.getloadavg()
    _stop_on_sigterm()
    folder = Path(tempfile.mkdtemp(prefix=f"aiki-bench-{options.engine}-"))
    log = StepLog(folder / "steps" if workload.logs_steps else None)
    log.clear()
    try:
        async with factory(options, folder, log) as engine:
            return line(options, await workload.measure(engine, options), load)
    except BaseException:
        _show_logs(folder)
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _show_logs(folder: Path) -> None:
    for output in sorted(folder.glob("*.log")):
        tail = output.read_text(errors="replace")[-2000:].strip()
        if tail:
            print(f"--- {output.name}\n{tail}", file=sys.stderr)


def _stop_on_sigterm() -> None:
    """Whoever ends this process early (a time-out, say) must not leave servers behind."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
