"""Webhooks on NATS: workers and gateways in different places agree on the keys, and one answer counts."""

import asyncio

import msgspec
import pytest

from aiki.sdk import Client, Context, PayloadError, WebhookExpired, WebhookInvalid, workflow
from tests.integration.engine.place import Place, eventually


class Approval(msgspec.Struct):
    by: str


@workflow(name="review")
async def review(ctx: Context, expires: float) -> list[str]:
    hooks = [await ctx.webhook("approval", Approval, expires=expires) for _ in range(2)]
    await ctx.publish([hook.url for hook in hooks])
    return [(await hook.wait()).by for hook in hooks]


async def tokens(client: Client, run_id: str) -> list[str]:
    async for update in review.handle(client, run_id).updates():
        return [str(url).rpartition("/")[2] for url in update.data]
    raise AssertionError


async def test_gateways_take_one_answer_per_hook_and_a_lost_worker_takes_none_along(place: Place) -> None:
    worker = await place.worker(review)
    gateways = [await place.connect() for _ in range(4)]
    handle = await review.enqueue(place.client, 3600)
    first, second = await tokens(place.client, handle.id)
    with pytest.raises(PayloadError):
        await gateways[0].deliver_webhook(first, b'{"by": null}')
    told = await asyncio.gather(
        *(gateway.deliver_webhook(first, b'{"by": "gateway %d"}' % number) for number, gateway in enumerate(gateways))
    )
    assert sorted(told) == ["already_received"] * 3 + ["received"]
    await worker.stop(0)
    assert await gateways[1].deliver_webhook(second, b'{"by": "Bob"}') == "received"
    assert await gateways[2].deliver_webhook(second, b'{"by": "Eve"}') == "already_received"
    await place.worker(review)
    assert await handle.wait_for_completion(timeout=20) == [f"gateway {told.index('received')}", "Bob"]
    assert await gateways[3].deliver_webhook(second, b'{"by": "Eve"}') == "already_received"


async def test_everybody_who_comes_first_makes_the_same_key(place: Place) -> None:
    clients = [await place.connect() for _ in range(8)]
    rings = await asyncio.gather(*(client.webhooks._keyring(0.0) for client in clients))
    assert len({msgspec.msgpack.encode(ring) for ring in rings}) == 1
    await asyncio.gather(*(client.rotate_webhook_key() for client in clients))
    assert len((await place.client.webhooks._keyring(0.0)).keys) == 9


async def test_another_region_and_another_time(place: Place) -> None:
    await place.worker(review)
    handle = await review.enqueue(place.client, 1)
    token, _ = await tokens(place.client, handle.id)
    elsewhere = Place(place.server)
    await elsewhere.open()
    try:
        with pytest.raises(WebhookInvalid):
            await elsewhere.client.deliver_webhook(token, b'{"by": "Ann"}')
    finally:
        await elsewhere.close()

    async def expired() -> bool:
        with pytest.raises((PayloadError, WebhookExpired)) as caught:
            await place.client.deliver_webhook(token, b"{}")
        return caught.type is WebhookExpired

    await eventually(expired)
    await handle.terminate()
