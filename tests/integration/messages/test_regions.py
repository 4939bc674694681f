"""A sub-workflow that runs in another region of the same NATS."""

from aiki.actors import init
from aiki.sdk import Client, Context, Worker, event, workflow
from aiki.transport import EmbeddedNats

go = event("go", int)


@workflow(name="far")
async def far(ctx: Context, number: int) -> int:
    return number + await ctx.wait_for(go)


@workflow(name="near")
async def near(ctx: Context, number: int) -> list[int]:
    first = await far.start(ctx, number, region="child-far")
    await first.send(go, 10)
    second = await far.start(ctx, number, region="child-far", idempotency_key="second")
    await second.send(go, 20)
    return [await first, await second]


async def test_a_child_runs_in_another_region(nats: EmbeddedNats) -> None:
    async with (
        await Client.connect(nats.url, region="child-near") as here,
        await Client.connect(nats.url, region="child-far") as there,
    ):
        await init(here.transport, region="child-near")
        await init(there.transport, region="child-far")
        one, other = Worker(here, reports=False), Worker(there, reports=False)
        one.registry.add(near)
        other.registry.add(far)
        async with one, other:
            handle = await near.enqueue(here, 1)
            assert await handle.wait_for_completion(timeout=30) == [11, 21]
            ran = [run.workflow async for run in there.runs()]
            assert ran == ["far", "far"]
            assert [run.workflow async for run in here.runs()] == ["near"]
