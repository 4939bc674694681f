"""Results that runs share, in virtual time."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from opentelemetry.metrics import _internal
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from aiki.client import RunHistory
from aiki.kv import LARGEST
from aiki.sdk import Cache, Context, DefinitionError, Retry, TaskContext, TaskFailed, task, workflow
from aiki.testing import TestEnvironment, replay


class Product(msgspec.Struct):
    id: int
    note: str = ""


class Shop:
    """A task whose bodies are counted; what it returns changes with `price`."""

    def __init__(self, *, local: bool = False, cache: Cache | None = None) -> None:
        self.bodies = 0
        self.price = 1
        self.hold: asyncio.Event | None = None

        @task(name="look", local=local, cache=cache or Cache(ttl=timedelta(hours=1), key=lambda product: product.id))
        async def look(product: Product) -> int:
            self.bodies += 1
            price = self.price
            if self.hold is not None:
                await self.hold.wait()
            return price * product.id

        @workflow(name="shop")
        async def shop(ctx: Context, product: Product) -> int:
            return await look.run(ctx, product)

        self.look = look
        self.shop = shop


@pytest.fixture(params=["remote", "local", "replaying"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def environment(kind: str) -> TestEnvironment:
    return TestEnvironment.in_memory(always_replay=kind == "replaying")


async def test_runs_share_a_result_until_it_is_too_old(kind: str) -> None:
    shop = Shop(local=kind == "local")
    async with environment(kind) as env:
        await env.worker(shop.shop, shop.look)
        assert await env.run(shop.shop, Product(7, "first")) == 7
        shop.price = 2
        await env.advance(1)
        assert await env.run(shop.shop, Product(7, "another note, the same key")) == 7
        assert await env.run(shop.shop, Product(8)) == 16
        assert shop.bodies == 2
        await env.advance(timedelta(minutes=59, seconds=57))
        assert await env.run(shop.shop, Product(7)) == 7
        await env.advance(3)
        assert await env.run(shop.shop, Product(7)) == 14
        assert shop.bodies == 3


async def test_another_worker_finds_it() -> None:
    shop = Shop()
    async with TestEnvironment.in_memory() as env:
        first = await env.worker(shop.shop, shop.look)
        assert await env.run(shop.shop, Product(7)) == 7
        await first.stop()
        await env.worker(shop.shop, shop.look)
        assert await env.run(shop.shop, Product(7)) == 7
        assert shop.bodies == 1


async def test_a_hit_writes_the_journal_and_nothing_else() -> None:
    shop = Shop()
    async with TestEnvironment.in_memory() as env:
        await env.worker(shop.shop, shop.look)
        await env.run(shop.shop, Product(7))
        await env.advance(1)
        memory = env._memory
        assert memory is not None
        written: list[str] = []
        store = memory.store

        def spy(subject: str, *arguments: Any, **options: Any) -> Any:
            written.append(subject)
            return store(subject, *arguments, **options)

        memory.store = spy  # type: ignore[method-assign]
        handle = await shop.shop.enqueue(env.client, Product(7))
        assert await handle.wait_for_completion() == 7
        assert written == [env.client.subjects.run_start("shop", shop.shop.version, handle.id), f"$KV.aiki-runs-default.{handle.id}"]


async def test_what_a_run_shows(kind: str) -> None:
    shop = Shop(local=kind == "local")
    async with environment(kind) as env:
        await env.worker(shop.shop, shop.look)
        await env.run(shop.shop, Product(7))
        await env.advance(1)
        handle = await shop.shop.enqueue(env.client, Product(7))
        await handle.wait_for_completion()
        [step] = (await handle.describe()).steps
        assert (step.cached, step.state, step.kind, step.attempts, step.worker) == (
            True,
            "completed",
            "local" if kind == "local" else "task",
            0,
            "",
        )


async def test_what_is_invalidated_is_not_used_again(kind: str) -> None:
    shop = Shop(local=kind == "local")
    async with environment(kind) as env:
        await env.worker(shop.shop, shop.look)
        forgets: list[Callable[[], Awaitable[Any]]] = [
            lambda: shop.look.cache.invalidate(env.client, Product(7)),
            lambda: shop.look.cache.invalidate_key(env.client, 7),
            lambda: shop.look.cache.clear(env.client),
        ]
        for price, forget in enumerate(forgets, 2):
            before = await env.run(shop.shop, Product(7))
            assert before == 7 * (price - 1)
            shop.price = price
            await env.advance(0.1)
            await forget()
            await env.advance(0.1)
            assert await env.run(shop.shop, Product(7)) == 7 * price


async def test_a_result_that_is_on_its_way_during_an_invalidation_is_not_stored(kind: str) -> None:
    shop = Shop(local=kind == "local")
    shop.hold = asyncio.Event()
    async with environment(kind) as env:
        await env.worker(shop.shop, shop.look)
        handle = await shop.shop.enqueue(env.client, Product(7))
        await env.advance(1)
        assert shop.bodies == 1
        shop.price = 2
        await shop.look.cache.invalidate(env.client, Product(7))
        shop.hold.set()
        assert await handle.wait_for_completion() == 7
        await env.advance(1)
        assert await env.client.cached() == []
        assert await env.run(shop.shop, Product(7)) == 14


async def test_a_run_that_has_recorded_it_keeps_it() -> None:
    shop = Shop()

    @workflow(name="slow")
    async def slow(ctx: Context, product: Product) -> list[int]:
        first = await shop.look.run(ctx, product)
        await ctx.sleep(timedelta(days=1))
        return [first, await shop.look.run(ctx, product)]

    async with TestEnvironment.in_memory() as env:
        await env.worker(shop.shop, slow, shop.look, cached_runs=0)
        await env.run(shop.shop, Product(7))
        handle = await slow.enqueue(env.client, Product(7))
        await env.advance(1)
        shop.price = 5
        await shop.look.cache.clear(env.client)
        assert await handle.wait_for_completion() == [7, 35]
        history: RunHistory = await handle.history()
        assert [step.cached for step in (await handle.describe()).steps] == [True, False]
        assert replay(slow, history).output == [7, 35]


async def test_what_is_cached_and_what_is_not() -> None:
    shop = Shop()

    @task(name="flaky", cache=Cache(ttl=60), retry=Retry.fixed(max_attempts=2, delay=5))
    async def flaky(number: int, call: TaskContext) -> str:
        if call.attempt < number:
            raise ValueError("no")
        return "x" * (LARGEST if number == 1 else 1)

    @workflow(name="calls")
    async def calls(ctx: Context, number: int) -> str:
        try:
            return (await flaky.run(ctx, number))[:3]
        except TaskFailed:
            return "failed"

    async with TestEnvironment.in_memory() as env:
        await env.worker(shop.shop, calls, shop.look, flaky)
        assert await env.run(shop.shop, Product(7)) == 7
        assert [await env.run(calls, number) for number in (1, 2, 3)] == ["xxx", "x", "failed"]
        await env.advance(1)
        assert [(each.task, each.key, each.version, each.value) for each in await env.client.cached()] == [
            ("flaky", (await env.client.cached("flaky"))[0].key, "1", "x"),  # not the failure, nor what is too large
            ("look", "7", "1", 7),
        ]


async def test_calls_have_their_own_say() -> None:
    shop = Shop()

    @workflow(name="calls")
    async def calls(ctx: Context, product: Product) -> list[int]:
        told = [await shop.look.run(ctx, product, cache=False)]
        await ctx.sleep(10)
        told.append(await shop.look.run(ctx, product, cache=Cache(ttl=5, key=lambda product: product.id)))
        told.append(await shop.look.run(ctx, product, cache=Cache(key=lambda product: product.id, version="2")))
        told.append(await shop.look.run(ctx, product, cache=Cache(key=lambda product: str(product.id))))
        return told

    async with TestEnvironment.in_memory() as env:
        await env.worker(shop.shop, calls, shop.look)
        await env.run(shop.shop, Product(7))
        shop.price = 2
        assert await env.run(calls, Product(7)) == [14, 14, 14, 14]
        assert shop.bodies == 5


async def test_a_cache_that_cannot_be_read_is_a_miss() -> None:
    shop = Shop()
    async with TestEnvironment.in_memory() as env:
        worker = await env.worker(shop.shop, shop.look)
        await env.run(shop.shop, Product(7))
        await env.advance(60)
        results = worker._host.results

        async def hangs(task: str, id: str) -> Any:
            await asyncio.sleep(3600)

        results.store.read = hangs  # type: ignore[method-assign]
        began = env.now()
        assert await env.run(shop.shop, Product(7)) == 7
        assert env.now() - began < timedelta(seconds=2)
        assert shop.bodies == 2


async def test_lookups_at_a_time_are_one_read() -> None:
    shop = Shop()
    async with TestEnvironment.in_memory() as env:
        worker = await env.worker(shop.shop, shop.look)
        await env.run(shop.shop, Product(7))
        await env.advance(60)
        reads = []
        store = worker._host.results.store
        read = store.read

        async def counted(task: str, id: str) -> Any:
            reads.append(id)
            return await read(task, id)

        store.read = counted  # type: ignore[method-assign]
        assert await asyncio.gather(*(env.run(shop.shop, Product(7)) for _ in range(50))) == [7] * 50
        assert len(reads) == 1
        assert shop.bodies == 1


async def test_it_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    monkeypatch.setattr(_internal, "_METER_PROVIDER", provider)
    shop = Shop()
    async with TestEnvironment.in_memory() as env:
        await env.worker(shop.shop, shop.look)
        for _ in range(3):
            await env.run(shop.shop, Product(7))
            await env.advance(1)
        await shop.look.cache.clear(env.client)
    found = reader.get_metrics_data()
    assert found is not None
    counts = {
        metric.name: [(dict(point.attributes or {}), getattr(point, "value", None)) for point in metric.data.data_points]
        for resource in found.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    provider.shutdown()
    look = {"aiki.task": "look"}
    assert counts == {
        "aiki.cache.misses": [(look, 1)],
        "aiki.cache.stores": [(look, 1)],
        "aiki.cache.hits": [(look, 2)],
        "aiki.cache.invalidations": [(look, 1)],
    }


@pytest.mark.parametrize(
    "make",
    [
        lambda: Cache(ttl=0),
        lambda: Cache(ttl=-1),
        lambda: Cache(ttl="1h"),  # type: ignore[arg-type]
        lambda: Cache(key="id"),  # type: ignore[arg-type]
        lambda: Cache(version=1),  # type: ignore[arg-type]
        lambda: Cache(version=""),
        lambda: task(name="x", cache=60)(print),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_a_cache(make: Any) -> None:
    with pytest.raises(DefinitionError):
        make()


@pytest.mark.parametrize("key", [None, 1.5, True, b"x", "", "x" * 1025, "\ud800"])
async def test_what_cannot_be_a_key(key: Any) -> None:
    shop = Shop(cache=Cache(key=lambda product: key))
    refused: list[DefinitionError] = []

    @workflow(name="refused")
    async def wrong(ctx: Context) -> None:
        try:
            await shop.look.run(ctx, Product(7))
        except DefinitionError as error:
            refused.append(error)

    async with TestEnvironment.in_memory() as env:
        await env.worker(wrong, shop.look)
        await env.run(wrong)
        assert len(refused) == 1
        assert shop.bodies == 0
        with pytest.raises(DefinitionError):
            await shop.look.cache.invalidate_key(env.client, key)
