"""The benchmark's tasks and workflows, as a user of Aiki would write them."""

import asyncio

import msgspec

from aiki.sdk import Context, Worker, task, workflow
from benchmarks.engine import SLOW_STEP_S
from benchmarks.options import Mode
from benchmarks.steplog import StepLog

__all__ = ["Call", "Order", "Program"]


class Order(msgspec.Struct):
    """A workflow's input: the run's label and its number of steps."""

    label: str
    steps: int


class Call(msgspec.Struct):
    """A step's input."""

    label: str
    number: int
    value: int


class Program:
    """The definitions for one mode: steps run in the run's own host (`local`) or wherever a worker takes them (`remote`)."""

    def __init__(self, mode: Mode, log: StepLog) -> None:
        local = mode == "local"

        @task(name="inc", local=local)
        async def inc(call: Call) -> int:
            log.write("S", call.label, call.number)
            return call.value + 1

        @task(name="slow", local=local)
        async def slow(call: Call) -> int:
            log.write("S", call.label, call.number)
            await asyncio.sleep(SLOW_STEP_S)
            log.write("E", call.label, call.number)
            return call.value + 1

        @workflow(name="chain", version="1.0.0")
        async def chain(ctx: Context, order: Order) -> int:
            value = 0
            for number in range(order.steps):
                value = await inc.run(ctx, Call(order.label, number, value))
            return value

        @workflow(name="fan", version="1.0.0")
        async def fan(ctx: Context, order: Order) -> int:
            return sum(await asyncio.gather(*(inc.run(ctx, Call(order.label, number, number)) for number in range(order.steps))))

        @workflow(name="slow_chain", version="1.0.0")
        async def slow_chain(ctx: Context, order: Order) -> int:
            value = 0
            for number in range(order.steps):
                value = await slow.run(ctx, Call(order.label, number, value))
            return value

        @workflow(name="sleeper", version="1.0.0")
        async def sleeper(ctx: Context, order: Order) -> int:
            await ctx.sleep(max(0.0, order.steps / 1000 - ctx.now().timestamp()))
            log.write("E", order.label, 0)
            return order.steps

        self.tasks = (inc, slow)
        self.workflows = {"chain": chain, "fan": fan, "slow_chain": slow_chain, "sleeper": sleeper}

    def register(self, worker: Worker) -> None:
        """Have a worker serve all of it."""
        for each in self.tasks:
            worker.registry.add(each)
        for definition in self.workflows.values():
            worker.registry.add(definition)
