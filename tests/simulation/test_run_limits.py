"""Limits of runs under faults: workers die at any instant, messages are lost, late, doubled; no more runs are under way than may be,
nothing is lost, and no place is."""

import asyncio
import contextlib
import os
import random
from collections import Counter
from typing import Any

import msgspec
import pytest

from aiki.journal import decode_state
from aiki.sdk import (
    AesGcmCodec,
    Client,
    Concurrency,
    Context,
    LimitReached,
    NotRetryable,
    RunEnded,
    RunHandle,
    RunNotFound,
    TaskContext,
    task,
    workflow,
)
from aiki.transport import Faults
from aiki.types.errors import RunError, TransportError
from aiki.types.states import is_final
from tests.simulation.fleet import Fleet
from tests.simulation.scenes import FAULTS, play

SEEDS = int(os.environ.get("AIKI_SEEDS", "40"))
MODES: dict[str, int] = {"queue": 2, "reject": 1, "return_existing": 1, "cancel_previous": 1}
KEYS = "ab"


class Order(msgspec.Struct):
    customer: str
    number: int
    length: float


class World:
    """The workflows, and an observer of who is under way: by the commits, and by the bodies of tasks."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(f"{seed} places")
        self.fleet: Fleet
        self.under_way: dict[tuple[str, str], set[str]] = {}
        self.bodies: Counter[tuple[str, str, str]] = Counter()
        self.ends: Counter[str] = Counter()
        self.handles: list[Any] = []

        @task(name="work")
        async def work(order: tuple[str, Order], context: TaskContext) -> int:
            # A dispatch whose publish was lost may be stored after its withdrawal, and then a run that was retried shows it once more.
            if context.run_id not in self.retried:
                self.fleet.began("work", context)
            mode, body = order
            self._at_work(mode, body.customer, context.run_id)
            try:
                await asyncio.sleep(body.length)
            finally:
                self.bodies[mode, body.customer, context.run_id] -= 1
            return body.number

        def made(mode: Any, count: int) -> Any:
            @workflow(name=mode, concurrency=Concurrency(count, key=lambda order: order.customer), on_limit=mode)
            async def limited(ctx: Context, order: Order) -> int:
                await ctx.step("begin", lambda: None)
                await work.run(ctx, (mode, order))
                await ctx.sleep(order.length)
                return order.number

            return limited

        self.kinds = {mode: made(mode, count) for mode, count in MODES.items()}

        @workflow(name="parent")
        async def parent(ctx: Context, orders: list[Order]) -> list[int]:
            return list(await asyncio.gather(*(self.kinds["queue"].run(ctx, order) for order in orders)))

        self.parent = parent
        self.definitions = [*self.kinds.values(), parent, work]

    def meet(self, fleet: Fleet) -> None:
        self.fleet = fleet
        committed = fleet._committed

        def spy(data: bytes) -> None:
            committed(data)
            state = decode_state(data)
            if (limit := MODES.get(state.workflow)) is None or state.line is None:
                return
            there = self.under_way.setdefault((state.workflow, state.line.key), set())
            if is_final(state.status):
                there.discard(state.run_id)
            elif not state.line.waits and state.line.stay == 1:  # who is retried may be one too many
                there.add(state.run_id)
                assert len(there) <= limit, f"{len(there)} runs are under way of {state.workflow}, {state.line.key}: {sorted(there)}"

        fleet._committed = spy  # type: ignore[method-assign]

    def _at_work(self, mode: str, customer: str, run_id: str) -> None:
        self.bodies[mode, customer, run_id] += 1
        others = {key[2] for key in +self.bodies if key[:2] == (mode, customer) and key[2] not in self.fleet.results}
        others -= self.retried
        if len(others) > MODES[mode]:
            self.fleet.repeated.append(f"bodies of {len(others)} runs of {mode} for {customer} were at work: {sorted(others)}")

    retried: set[str] = set()

    def order(self, number: int) -> Order:
        return Order(self.chance.choice(KEYS), number, self.chance.choice((0, 0.05, 0.5, 2.0)))

    async def scene(self, chance: random.Random, client: Client, number: int) -> None:
        """One start, and what becomes of it."""
        await asyncio.sleep(chance.uniform(0, 4))
        mode = chance.choice([*MODES, "queue", "parent"])
        if mode == "parent":
            family = await self.parent.enqueue(client, [self.order(number) for _ in range(3)], idempotency_key=f"run-{number}")
            assert await family.wait_for_completion(timeout=3600) == [number] * 3
            return
        order = self.order(number)
        priority = chance.choice((0, 0, 5))
        handle: RunHandle[int] | None = None
        while handle is None:
            try:
                handle = await self.kinds[mode].enqueue(client, order, priority=priority, idempotency_key=f"run-{number}")
            except LimitReached:
                assert mode == "reject"
                self.ends["refused"] += 1
                await asyncio.sleep(1)
            except TransportError:
                continue
        cancels = chance.random() < 0.2
        if cancels:
            await asyncio.sleep(chance.uniform(0, 2))
            with contextlib.suppress(RunEnded, TransportError, RunNotFound):
                await (handle.cancel() if chance.random() < 0.5 else handle.terminate())
        try:
            result = await handle.wait_for_completion(timeout=3600)
            assert mode == "return_existing" or result == number
            self.ends["completed"] += 1
        except RunError as error:
            assert cancels or mode in ("cancel_previous", "return_existing"), error
            self.ends[type(error).__name__] += 1
            if cancels and chance.random() < 0.5:
                self.retried.add(handle.id)
                with contextlib.suppress(NotRetryable, RunError, TransportError):
                    await handle.retry()
                    await handle.wait_for_completion(timeout=3600)

    async def last(self, chance: random.Random, client: Client, number: int) -> None:
        """When all is over, no place is taken by nobody."""
        await asyncio.sleep(600)
        for mode in MODES:
            for customer in KEYS:
                handle = await self.kinds[mode].enqueue(client, Order(customer, number, 0))
                assert await handle.wait_for_completion(timeout=600) == number
        await asyncio.sleep(200)
        for mode in MODES:
            for customer in KEYS:
                line = await client.lines.read(mode, customer)
                assert line is None or line.empty, line


@pytest.mark.parametrize("seed", range(SEEDS))
def test_kills_and_faults(seed: int) -> None:
    world = World(seed)
    world.retried = set()
    options: dict[str, Any] = {"kills": seed % 6, "faults": FAULTS if seed % 3 else Faults(), "replay": seed % 5 == 0}
    options["cached_runs"] = 1 if seed % 4 == 0 else 5000
    options["codec"] = AesGcmCodec(keys={"k1": bytes(32)}, active="k1") if seed % 7 == 0 else None
    scenes = [*[world.scene] * 14, world.last]
    play(seed, world.definitions, scenes, on_fleet=world.meet, chance=world.chance, resets=True, **options)
