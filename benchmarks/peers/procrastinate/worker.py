"""A worker process; serves until it is ended."""

import argparse

from benchmarks.loop import run
from benchmarks.peers.procrastinate.program import QUEUE, application
from benchmarks.steplog import StepLog

CONCURRENCY = 20


async def serve(url: str) -> None:
    """Work on the queue."""
    app = application(url, StepLog.from_environment())
    async with app.open_async():
        await app.run_worker_async(queues=[QUEUE], concurrency=CONCURRENCY)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", required=True)
    run(serve(parser.parse_args().database))


if __name__ == "__main__":
    main()
