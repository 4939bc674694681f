"""The workflows, as Restate handlers; `program:app` is what granian serves."""

# mypy: disable-error-code="import-not-found, untyped-decorator"

import asyncio
from datetime import timedelta
from typing import Any

import restate

from benchmarks.engine import SLOW_STEP_S
from benchmarks.steplog import StepLog

log = StepLog.from_environment()
service = restate.Service("Bench")


async def inc(label: str, number: int, value: int) -> int:
    log.write("S", label, number)
    return value + 1


async def slow(label: str, number: int, value: int) -> int:
    log.write("S", label, number)
    await asyncio.sleep(SLOW_STEP_S)
    log.write("E", label, number)
    return value + 1


@service.handler()
async def chain(ctx: restate.Context, order: dict[str, Any]) -> int:
    value = 0
    for number in range(order["steps"]):
        value = await ctx.run_typed("inc", inc, label=order["label"], number=number, value=value)
    return value


@service.handler()
async def fan(ctx: restate.Context, order: dict[str, Any]) -> int:
    steps = [ctx.run_typed("inc", inc, label=order["label"], number=number, value=number) for number in range(order["steps"])]
    await restate.gather(*steps)
    return sum([await step for step in steps])


@service.handler()
async def slow_chain(ctx: restate.Context, order: dict[str, Any]) -> int:
    value = 0
    for number in range(order["steps"]):
        value = await ctx.run_typed("slow", slow, label=order["label"], number=number, value=value)
    return value


@service.handler()
async def sleeper(ctx: restate.Context, order: dict[str, Any]) -> int:
    """Sleep until an instant: `steps` holds it, in milliseconds since the epoch."""
    now = await ctx.time()
    await ctx.sleep(timedelta(seconds=max(0.0, order["steps"] / 1000 - now)))
    log.write("E", order["label"], 0)
    return 1


app = restate.app(services=[service])
