"""The workflows, as DBOS workflows."""

# mypy: disable-error-code="import-not-found, untyped-decorator"

import asyncio

from dbos import DBOS

from benchmarks.engine import SLOW_STEP_S
from benchmarks.steplog import StepLog

__all__ = ["WORKFLOWS"]

log = StepLog.from_environment()


@DBOS.step()
async def inc(label: str, number: int, value: int) -> int:
    log.write("S", label, number)
    return value + 1


@DBOS.step()
async def slow(label: str, number: int, value: int) -> int:
    log.write("S", label, number)
    await asyncio.sleep(SLOW_STEP_S)
    log.write("E", label, number)
    return value + 1


@DBOS.workflow()
async def chain(label: str, steps: int) -> int:
    value = 0
    for number in range(steps):
        value = await inc(label, number, value)
    return value


@DBOS.workflow()
async def fan(label: str, steps: int) -> int:
    return sum(await asyncio.gather(*(inc(label, number, number) for number in range(steps))))


@DBOS.workflow()
async def slow_chain(label: str, steps: int) -> int:
    value = 0
    for number in range(steps):
        value = await slow(label, number, value)
    return value


WORKFLOWS = {"chain": chain, "fan": fan, "slow_chain": slow_chain}
