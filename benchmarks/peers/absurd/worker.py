"""A worker process with the workflows, as Absurd tasks; serves until it is ended."""

# mypy: disable-error-code="import-not-found"

import argparse
import asyncio
from typing import Any

from absurd_sdk import AsyncAbsurd, AsyncTaskContext

from benchmarks.engine import SLOW_STEP_S
from benchmarks.loop import run
from benchmarks.steplog import StepLog

log = StepLog.from_environment()

LEASE_S = 5
CONCURRENCY = 64
POLL_S = 0.25


async def inc(ctx: AsyncTaskContext, label: str, number: int, value: int) -> int:
    async def body() -> int:
        log.write("S", label, number)
        return value + 1

    result: int = await ctx.step(f"inc-{number}", body)
    return result


async def slow(ctx: AsyncTaskContext, label: str, number: int, value: int) -> int:
    async def body() -> int:
        log.write("S", label, number)
        await asyncio.sleep(SLOW_STEP_S)
        log.write("E", label, number)
        return value + 1

    result: int = await ctx.step(f"slow-{number}", body)
    return result


async def chain(order: dict[str, Any], ctx: AsyncTaskContext) -> int:
    value = 0
    for number in range(order["steps"]):
        value = await inc(ctx, order["label"], number, value)
    return value


async def fan(order: dict[str, Any], ctx: AsyncTaskContext) -> int:
    return sum(await asyncio.gather(*(inc(ctx, order["label"], number, number) for number in range(order["steps"]))))


async def slow_chain(order: dict[str, Any], ctx: AsyncTaskContext) -> int:
    value = 0
    for number in range(order["steps"]):
        value = await slow(ctx, order["label"], number, value)
    return value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", required=True)
    parser.add_argument("--queue", required=True)
    options = parser.parse_args()
    absurd = AsyncAbsurd(options.database, queue_name=options.queue)
    for name, handler in (("chain", chain), ("fan", fan), ("slow_chain", slow_chain)):
        absurd.register_task(name)(handler)
    run(absurd.start_worker(concurrency=CONCURRENCY, claim_timeout=LEASE_S, poll_interval=POLL_S))


if __name__ == "__main__":
    main()
