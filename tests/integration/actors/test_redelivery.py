"""A dispatch that comes again after its outcome was recorded."""

import asyncio

from aiki.actors import topology
from aiki.sdk import Client, Context, Worker, task, workflow
from aiki.transport import EmbeddedNats
from aiki.transport.port import Delivery
from aiki.types.messages import StepResult, decode_dispatch, encode

began: list[str] = []


@task(name="recorded")
async def recorded(name: str) -> str:
    began.append(name)
    return name


@workflow(name="two-steps")
async def two_steps(ctx: Context) -> list[str]:
    return [await recorded.run(ctx, "first"), await recorded.run(ctx, "second")]


async def test_the_body_does_not_run(nats: EmbeddedNats) -> None:
    """As when a worker dies after its host has committed a result and before the dispatch is acknowledged."""
    async with await Client.connect(nats.url, region="redelivery") as client:
        await topology.init(client.transport, region="redelivery")
        subjects = client.subjects
        host = Worker(client, id="host")
        host.registry.add(two_steps)
        async with host:
            handle = await two_steps.enqueue(client)
            durable = subjects.task_consumer("default", "recorded")
            await client.transport.ensure_consumer(
                topology.consumer(subjects.task_stream, durable, subjects.task_mail("default", "recorded"))
            )
            deliveries: asyncio.Queue[Delivery] = asyncio.Queue()
            pull = await client.transport.consume(subjects.task_stream, durable, deliveries.put_nowait, window=1)
            first = await deliveries.get()
            await pull.stop()
            dispatch = decode_dispatch(first.data)
            result = StepResult(dispatch.address, dispatch.ordinal, dispatch.serial, b'"first"', None, 1.0, 2.0, "dead")
            await client.transport.publish(dispatch.mailbox, encode(result), message_id="by-the-dead")
            async for view in handle.changes():
                if any(step.state == "completed" for step in view.steps):
                    break
            worker = Worker(client, id="worker")
            worker.registry.add(recorded)
            first.nak()
            async with worker:
                assert await handle.wait_for_completion() == ["first", "second"]
        assert began == ["second"]
