"""What a codec does to gates, dead letters, forks and archives, where some have the key and some have not."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aiki.archive import Archive
from aiki.codec import AesGcmCodec, new_key
from aiki.sdk import Archiver, Cache, Client, Concurrency, Context, KeyMissing, LetterNotFound, task, workflow
from aiki.testing import TestEnvironment
from aiki.types.letters import DeadLetter, LetterKind, encode_letter

K1, K2 = new_key(), new_key()
CUSTOMER = "secretive"


def codec(active: str = "k1", **keys: bytes) -> AesGcmCodec:
    return AesGcmCodec(keys or {"k1": K1}, active)


class Order(msgspec.Struct):
    customer: str
    number: int


@task(name="ship", limits=[Concurrency(1, key=lambda order: order.customer)])
async def ship(order: Order) -> int:
    await asyncio.sleep(3)
    return order.number


@workflow(name="orders")
async def orders(ctx: Context, count: int) -> list[int]:
    return list(await asyncio.gather(*(ship.run(ctx, Order(CUSTOMER, number)) for number in range(count))))


@task(name="price", cache=Cache(key=lambda order: order.customer), local=True)
async def price(order: Order) -> int:
    return order.number


@workflow(name="quote", archive=True, retention=86_400)
async def quote(ctx: Context, number: int) -> int:
    first = await price.run(ctx, Order(CUSTOMER, number))
    await ctx.sleep(1)
    return first


async def subjects_of(client: Client, stream: str) -> str:
    return "\n".join(await client.transport.subjects(stream, ">"))


async def test_a_worker_without_the_key_may_keep_the_gate() -> None:
    async with TestEnvironment.in_memory(codec=codec()) as env:
        keeper = await env.worker(ship, queue="default", codec=None, id="keeper")
        await env.worker(orders)
        run = await orders.enqueue(env.client, 3)
        await env.advance(5)  # it has let in what it cannot read
        (limit,) = await (await env.connect()).limits()
        assert limit.keeper == "keeper"
        assert limit.waiting + limit.at_work == 3
        await env.worker(ship)
        await env.advance(20)
        await keeper.stop()
        assert await run.wait_for_completion() == [0, 1, 2]


async def test_keys_of_limits_are_readable_without_a_codec_alone() -> None:
    for each in (None, codec()):
        async with TestEnvironment.in_memory(codec=each) as env:
            await env.worker(ship, orders)
            run = await orders.enqueue(env.client, 2)
            await env.advance(1)
            (limit,) = await env.client.limits()
            seen = await subjects_of(env.client, env.client.subjects.task_stream)
            assert (CUSTOMER in seen) is (each is None)
            assert limit.waiting == 1, "they are one key still"
            assert await run.wait_for_completion() == [0, 1]


async def test_a_cached_result_is_shared_and_its_key_is_sealed_with_it() -> None:
    async with TestEnvironment.in_memory(codec=codec()) as env:
        await env.worker(quote, price)
        assert await env.run(quote, 1) == 1
        assert await env.run(quote, 2) == 1
        stream = env.client.subjects.cache_stream
        raw = (await env.connect()).transport
        for key in await raw.subjects(stream, ">"):
            stored = await raw.last(stream, key)
            assert stored is not None and CUSTOMER.encode() not in stored.data and CUSTOMER not in key
        (cached,) = await env.client.cached()
        assert cached.key == CUSTOMER
        with pytest.raises(KeyMissing):
            await (await env.connect()).cached()


async def test_letters_are_listed_without_the_key_and_retried_with_it() -> None:
    async with TestEnvironment.in_memory(codec=codec()) as env:
        letters, stranger = env.client.dead_letters(), (await env.connect()).dead_letters()
        kinds: tuple[LetterKind, ...] = ("message", "task")
        for number, kind in enumerate(kinds):
            letter = DeadLetter(
                id=f"l{number}",
                kind=kind,
                reason=CUSTOMER,
                code="c",
                deliveries=1,
                first_at=1.0,
                last_at=1.0,
                subject="aiki.default.mail.x",
            )
            await letters._store.keep(letter.id, 0, letter.subject, CUSTOMER.encode(), {})
            await env.client.transport.publish(env.client.subjects.letter_prefix + letter.id, encode_letter(letter))
        assert [(each.id, each.reason) async for each in stranger] == [("l0", "it cannot be read"), ("l1", CUSTOMER)]
        with pytest.raises(KeyMissing):
            await stranger.retry("l0")
        assert [each.id async for each in letters] == ["l0", "l1"]
        await letters.retry("l0")
        with pytest.raises(LetterNotFound):
            await letters.get("l0")
        stored = await env.client.transport.last(env.client.subjects.mail_stream, "aiki.default.mail.x")
        assert stored is not None and stored.data == CUSTOMER.encode(), "it opens where it came from"


async def test_a_fork_waits_for_a_worker_that_can_read_where_it_begins() -> None:
    both: dict[str, Any] = {"k1": K1, "k2": K2}
    async with TestEnvironment.in_memory(codec=codec(**both)) as env:
        worker = await env.worker(quote, price)
        run = await quote.enqueue(env.client, 1)
        assert await run.wait_for_completion() == 1
        await worker.stop()
        await env.worker(quote, price, codec=codec("k2", k2=K2))
        newer = quote.handle(await env.connect(codec("k2", **both)), run.id)
        fork = await newer.fork(to_step="price", payload=2)
        await env.advance(30)
        assert (await fork.get_status()).state != "failed"
        await env.worker(quote, price, codec=codec("k2", **both))
        assert await fork.wait_for_completion() == 1  # from the cache


async def test_an_archiver_without_the_key_leaves_what_is_sealed_and_takes_the_rest(tmp_path: Path) -> None:
    async with TestEnvironment.in_memory() as env:
        keyed = await env.connect(codec())
        worker = await env.worker(quote, price, codec=codec())
        sealed = await quote.enqueue(keyed, 1)
        await sealed.wait_for_completion()
        await worker.stop()
        await env.worker(quote, price)
        plain = await quote.enqueue(env.client, 2)
        await plain.wait_for_completion()
        async with Archiver(env.client, tmp_path) as archiver:
            await env.advance(60)
            assert archiver.archived == 1
        assert await Archiver(env.client, tmp_path).once() == 0
        await env.advance(100 * 86_400)
        assert [each.run_id for each in Archive(tmp_path).records()] == [plain.id]
        assert (await sealed.get_status()).state == "completed", "what is in no archive does not expire"
        async with Archiver(keyed, tmp_path) as archiver:
            await env.advance(60)
            assert archiver.archived == 1
        record = Archive(tmp_path).find(sealed.id)
        assert record is not None and CUSTOMER.encode() in record.state, "whoever may not read payloads may not have the files"
        with contextlib.suppress(KeyMissing):
            await env.advance(100)
        assert await env.client.load(sealed.id) is None
