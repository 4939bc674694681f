"""A worker process, `python -m benchmarks.worker`: makes the file `--ready` once it serves, and serves until SIGTERM."""

import argparse
import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

from aiki.sdk import AesGcmCodec, Client, Worker
from benchmarks.codec import bench_codec
from benchmarks.loop import run
from benchmarks.program import Program
from benchmarks.region import REGION
from benchmarks.steplog import StepLog


async def serve(url: str, name: str, program: Program, on_ready: Callable[[], None], codec: AesGcmCodec | None = None) -> None:
    """Serve the program until SIGTERM, with a worker's default settings."""
    async with await Client.connect(url, region=REGION, codec=codec) as client:
        worker = Worker(client, id=name)
        program.register(worker)
        ended = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
        async with worker:
            on_ready()
            await ended.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worker", description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--mode", required=True, choices=["remote", "local"])
    parser.add_argument("--ready", required=True, type=Path)
    parser.add_argument("--codec", action="store_true")
    options = parser.parse_args()
    run(
        serve(options.url, options.name, Program(options.mode, StepLog.from_environment()), options.ready.touch, bench_codec(options.codec))
    )


if __name__ == "__main__":
    main()
