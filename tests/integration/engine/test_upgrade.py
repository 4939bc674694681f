"""A region that an earlier release has made: it is told what to do, keeps what it has, and serves what is new afterwards."""

import msgspec
import pytest

from aiki.actors import init, streams
from aiki.cli.checkup import check_all
from aiki.sdk import Cache, Concurrency, Context, task, workflow
from aiki.transport import EmbeddedNats
from aiki.types.errors import StreamMissing, TopologyMismatch
from tests.integration.engine.place import Place


@task(name="gated", limits=[Concurrency(1, key=lambda number: number)], cache=Cache())
async def gated(number: int) -> int:
    return number


@workflow(name="sum-up")
async def sum_up(ctx: Context, number: int) -> int:
    return await gated.run(ctx, number) + 1


async def test_a_region_of_an_earlier_release_is_brought_up_to_date(nats: EmbeddedNats) -> None:
    place = Place(nats)
    place.client = client = await place.connect()
    subjects, transport = client.subjects, client.transport
    newer = {subjects.gates_stream, subjects.dead_stream, subjects.cache_stream}
    for spec in streams(subjects):
        if spec.name == subjects.task_stream:
            spec = msgspec.structs.replace(spec, subjects=spec.subjects[:2])
        if spec.name not in newer:
            await transport.ensure_stream(spec)
    try:
        waiting = await sum_up.enqueue(client, 1, idempotency_key="of old")
        with pytest.raises((StreamMissing, TopologyMismatch), match=f"aiki init --region {place.region} --update"):
            await place.worker(sum_up, gated)
        failed = [finding.finding for finding in await check_all(client) if finding.level == "FAIL"]
        assert len(failed) == 4
        assert all(f"aiki init --region {place.region} --update" in text for text in failed)
        with pytest.raises(TopologyMismatch, match="aiki init --update"):
            await init(transport, region=place.region)
        done = await init(transport, region=place.region, update=True)
        assert {name for name, what in done.items() if what == "created"} <= newer
        assert done[subjects.task_stream] == "updated"
        assert set((await init(transport, region=place.region)).values()) == {"unchanged"}
        assert not [finding for finding in await check_all(client) if finding.level == "FAIL"]
        await place.worker(sum_up, gated)
        assert await waiting.wait_for_completion(timeout=10) == 2
        assert await sum_up.handle(client, waiting.id).wait_for_completion(timeout=10) == 2
    finally:
        await place.close()
