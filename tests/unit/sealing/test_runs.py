"""Runs with a codec, on the in-memory twin: what is stored, what is moved about in the store, and whose key is where."""

import asyncio
from typing import Any

import pytest

from aiki.codec import AesGcmCodec, new_key
from aiki.kv import RunStore
from aiki.sdk import (
    Actor,
    ActorContext,
    Client,
    CodecError,
    Context,
    IdempotencyConflict,
    KeyMissing,
    Schedule,
    ScheduleConflict,
    Tampered,
    actor,
    handler,
    task,
    workflow,
)
from aiki.services.timer import TimerService
from aiki.testing import TestEnvironment
from aiki.types.sealed import is_sealed, public_part

K1, K2 = new_key(), new_key()


def codec(active: str | None = "k1", **keys: bytes) -> AesGcmCodec:
    return AesGcmCodec(keys or {"k1": K1}, active)


BOTH: dict[str, Any] = {"k1": K1, "k2": K2}


@task(name="double")
async def double(number: int) -> int:
    return number * 2


@workflow(name="part")
async def part(ctx: Context, number: int) -> int:
    return await double.run(ctx, number)


@workflow(name="sleepy")
async def sleepy(ctx: Context, number: int) -> int:
    doubled = await part.run(ctx, number)
    await ctx.sleep(3600)
    return doubled


@actor(name="tally")
class Tally(Actor):
    total: int = 0

    @handler
    async def add(self, ctx: ActorContext, number: int) -> int:
        self.total += number
        return self.total


async def raw(env: TestEnvironment, run_id: str) -> bytes:
    bare = await env.connect()
    stored = await RunStore(bare.transport, bare.subjects).read(run_id)
    assert stored is not None
    return stored.value


async def put(env: TestEnvironment, run_id: str, value: bytes) -> None:
    """As somebody does who can write to NATS and has no key."""
    bare = await env.connect()
    await bare.transport.publish(bare.store.place(run_id), value, headers={"Aiki-State": "running"})


async def test_values_of_two_runs_cannot_be_swapped() -> None:
    async with TestEnvironment.in_memory(codec=codec()) as env:
        await env.worker(sleepy, part, double, cached_runs=0)
        first, second = [await sleepy.enqueue(env.client, number) for number in (1, 2)]
        await env.advance(10)
        value = await raw(env, first.id)
        assert is_sealed(value)
        await put(env, second.id, value)
        with pytest.raises(Tampered):
            await second.describe()
        await put(env, second.id, value[:-1] + bytes([value[-1] ^ 1]))
        with pytest.raises(Tampered):
            await second.describe()
        assert await first.wait_for_completion() == 2


async def test_what_a_keyless_worker_passes_on_belongs_to_its_run() -> None:
    async with TestEnvironment.in_memory(codec=codec()) as env:
        worker = await env.worker(sleepy, part, double, codec=None)
        first, second = [await sleepy.enqueue(env.client, number) for number in (1, 2)]
        await env.advance(1)
        carried = await raw(env, first.id)
        assert (await first.get_status()).state == "stalled"
        await put(env, second.id, carried)
        with pytest.raises(Tampered):
            await second.get_status()
        await worker.stop()
        await env.worker(sleepy, part, double)
        assert await first.wait_for_completion() == 2


async def test_an_idempotency_key_survives_a_rotation() -> None:
    async with TestEnvironment.in_memory(codec=codec()) as env:
        await env.worker(sleepy, part, double, codec=codec("k2", **BOTH))
        run = await sleepy.enqueue(env.client, 4, idempotency_key="one")
        rotated = await env.connect(codec("k2", **BOTH))
        assert (await sleepy.enqueue(rotated, 4, idempotency_key="one")).id == run.id
        with pytest.raises(IdempotencyConflict):
            await sleepy.enqueue(rotated, 5, idempotency_key="one")
        assert await sleepy.handle(rotated, run.id).wait_for_completion() == 8
        assert (await sleepy.enqueue(rotated, 4, idempotency_key="one")).id == run.id
        with pytest.raises(KeyMissing) as missing:
            await sleepy.enqueue(env.client, 4, idempotency_key="one")
        assert missing.value.key == "k2"


async def test_the_same_payload_has_other_addresses_and_children_in_each_run() -> None:
    async with TestEnvironment.in_memory(codec=codec()) as env:
        await env.worker(sleepy, part, double)
        views = []
        for _ in range(2):
            run = await sleepy.enqueue(env.client, 7)
            await run.wait_for_completion()
            views.append(await run.describe())
        (one,), (other,) = (view.steps for view in views)
        assert one.input == other.input == 7 and one.address != other.address and one.child != other.child


async def test_what_is_public_holds_no_payload() -> None:
    async with TestEnvironment.in_memory(codec=codec()) as env:
        await env.worker(sleepy, part, double)
        run = await sleepy.enqueue(env.client, 123456789, idempotency_key="named")
        await env.advance(10)
        public = public_part(await raw(env, run.id))
        assert b"123456789" not in public and b"246913578" not in public and b"named" in public
        bare = await env.connect()
        status = await sleepy.handle(bare, run.id).get_status()
        assert status.state == "sleeping" and status.sealed_with == "k1" and status.waiting_on
        await sleepy.handle(bare, run.id).cancel("not wanted")
        with pytest.raises(Exception, match="not wanted"):
            await run.wait_for_completion()


async def test_actors_are_sealed_too() -> None:
    async with TestEnvironment.in_memory(codec=codec()) as env:
        await env.worker(Tally)
        assert await Tally.ref(env.client, "a").ask.add(3) == 3
        await Tally.ref(env.client, "a").tell.add(4)
        assert await Tally.ref(env.client, "a").ask.add(0) == 7
        bare = await env.connect()
        stored = await bare.transport.last(bare.subjects.actors_stream, bare.subjects.actors_prefix + "tally.a")
        assert stored is not None and is_sealed(stored.data)


async def test_schedules_fire_by_a_service_without_the_key() -> None:
    async with TestEnvironment.in_memory(codec=codec()) as env:
        await env.worker(part, double)
        async with TimerService(await env.connect()):
            schedule = await part.schedule(env.client, Schedule.every(60, overlap="skip"), 21, id="s")
            again = await part.schedule(env.client, Schedule.every(60, overlap="skip"), 21, id="s")
            assert (await again.describe()).input == 21
            with pytest.raises(ScheduleConflict):
                await part.schedule(env.client, Schedule.every(60, overlap="skip"), 22, id="s")
            await env.advance(65)
            fired = (await schedule.describe()).last
            assert fired is not None and fired.run_id is not None
            assert await part.handle(env.client, fired.run_id).wait_for_completion() == 42
            await schedule.update(payload=5)
            assert await (await schedule.trigger()).wait_for_completion() == 10
            with pytest.raises(CodecError):
                await part.schedule(await env.connect(), Schedule.every(60), 21, id="s")


class Vault:
    """A provider whose keys may come later."""

    def __init__(self, sealing: str | None, **keys: bytes) -> None:
        self.keys, self.sealing = keys, sealing

    async def active(self) -> str | None:
        await asyncio.sleep(0.01)
        return self.sealing

    async def key(self, id: str) -> bytes | None:
        await asyncio.sleep(0.01)
        return self.keys.get(id)


async def test_keys_are_fetched_when_they_are_met() -> None:
    providing = AesGcmCodec(provider=Vault("k1", **BOTH))
    async with TestEnvironment.in_memory(codec=codec("k2", **BOTH)) as env:
        await providing.prepare()
        await env.worker(sleepy, part, double, codec=providing)
        run = await sleepy.enqueue(env.client, 5)
        assert not providing.knows("k2")
        assert await run.wait_for_completion() == 10
        assert providing.knows("k2")
        reader: Client = await env.connect(AesGcmCodec(provider=Vault(None, **BOTH)))
        assert await sleepy.handle(reader, run.id).wait_for_completion() == 10


async def test_exports_are_plain_for_whoever_has_the_key() -> None:
    async with TestEnvironment.in_memory(codec=codec()) as env:
        await env.worker(sleepy, part, double)
        run = await sleepy.enqueue(env.client, 5)
        await run.wait_for_completion()
        assert not is_sealed((await run.history()).state)
        with pytest.raises(KeyMissing):
            await sleepy.handle(await env.connect(), run.id).history()
