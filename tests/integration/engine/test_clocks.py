"""A worker and a client whose clocks are off, on a server whose clock is right."""

import time
from datetime import timedelta

from aiki.clock import SystemClock
from aiki.sdk import Client, Context, Trigger, workflow
from tests.integration.engine.place import Place

TOLERANCE = 0.1
"""Seconds: what the measuring of a clock may be wrong by on a busy machine."""


class Off(SystemClock):
    """The machine's clock, but for some seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def now(self) -> float:
        return super().now() + self.seconds


@workflow(name="naps")
async def naps(ctx: Context, seconds: float) -> list[float]:
    before = ctx.now().timestamp()
    await ctx.sleep(seconds)
    return [before, ctx.now().timestamp()]


async def test_sleeps_and_triggers_go_by_the_servers_clock(place: Place) -> None:
    early = Client(place.client.transport, region=place.region, clock=Off(-300))
    await place.worker(naps, client=early)
    late = Client((await place.connect()).transport, region=place.region, clock=Off(300))
    called = time.time()
    handle = await naps.enqueue(late, 3.0, trigger=Trigger.after(timedelta(seconds=0.5)))
    before, after = await handle.wait_for_completion(timeout=30)
    assert called + 0.5 - TOLERANCE <= before <= time.time()
    assert before + 3.0 <= after <= time.time() + TOLERANCE
    assert abs((await handle.get_status()).created_at.timestamp() - called) < 1.0 + TOLERANCE
