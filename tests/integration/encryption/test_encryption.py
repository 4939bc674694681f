"""With a codec, nothing of a payload is in the server's files, in logs or in spans; keys are rotated, and missed, on live runs."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from aiki.actors import init
from aiki.codec import new_key
from aiki.schema import content_hash, payload_hash
from aiki.sdk import (
    Actor,
    ActorContext,
    AesGcmCodec,
    Client,
    Context,
    KeyMissing,
    Retry,
    Schedule,
    TaskContext,
    Trigger,
    Worker,
    WorkflowFailed,
    actor,
    event,
    handler,
    task,
    workflow,
)
from aiki.services.timer import TimerService
from aiki.transport import EmbeddedNats
from tests.integration.engine.place import eventually

SOON = 20.0
MARKER = "xyzzyMARKER"
K1, K2 = new_key(), new_key()
note = event("note", str)


def marked(what: str) -> str:
    return f"{MARKER}-{what}"


@task(name="flaky", retry=Retry.fixed(max_attempts=2, delay=1.2), heartbeat=5)
async def flaky(text: str, context: TaskContext) -> str:
    context.heartbeat({"at": marked("beat")})
    if context.attempt == 1:
        raise ValueError(marked("attempt"))
    assert context.last_heartbeat == {"at": marked("beat")}
    return text + marked("-result")


@task(name="undo", local=True)
async def undo(text: str) -> None: ...


@workflow(name="child")
async def child(ctx: Context, text: str) -> str:
    await ctx.sleep(0.1)
    return text + marked("-child")


@workflow(name="broken")
async def broken(ctx: Context, text: str) -> str:
    async with ctx.saga() as saga:
        await saga.run(undo, text, undo=undo)
        raise ValueError(text)


@workflow(name="whole")
async def whole(ctx: Context, text: str) -> list[str]:
    said: list[str] = []
    parts = [await flaky.run(ctx, text), await child.run(ctx, text), await ctx.step("local", lambda: marked("step"))]
    await ctx.publish({"progress": marked("published")})
    said.append(await ctx.wait_for(note))
    await Ledger.ref(ctx, marked_id()).ask.add(marked("entry"))
    return parts + said


def marked_id() -> str:
    return "book"


@workflow(name="tick")
async def tick(ctx: Context, text: str) -> str:
    return text


@actor(name="ledger")
class Ledger(Actor):
    lines: list[str] = []

    @handler
    async def add(self, ctx: ActorContext, line: str) -> int:
        self.lines.append(line)
        return len(self.lines)

    @handler
    async def fail(self, ctx: ActorContext, line: str) -> None:
        raise ValueError(line)


EVERYTHING: tuple[Any, ...] = (whole, child, broken, tick, flaky, undo, Ledger)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[EmbeddedNats]:
    async with EmbeddedNats(store=tmp_path / "store") as embedded:
        yield embedded


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield exporter
    provider.shutdown()


def worker_of(client: Client, *definitions: Any) -> Worker:
    worker = Worker(client)
    for definition in definitions or EVERYTHING:
        worker.registry.add(definition)
    return worker


def codec(active: str | None = "k1", **keys: bytes) -> AesGcmCodec:
    return AesGcmCodec(keys or {"k1": K1}, active)


async def test_nothing_of_a_payload_is_in_files_logs_or_spans(
    server: EmbeddedNats, tmp_path: Path, spans: InMemorySpanExporter, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="aiki")
    async with (
        await Client.connect(server.url, codec=codec()) as client,
        await Client.connect(server.url, codec=codec()) as other,
        await Client.connect(server.url) as bare,
    ):
        await init(client.transport)
        async with worker_of(other), TimerService(bare):
            run = await whole.enqueue(client, marked("input"), idempotency_key="once")
            await run.send(note, marked("event"))
            result = await run.wait_for_completion(SOON)
            assert len(result) == 4 and all(MARKER in part for part in result)
            assert (await whole.enqueue(client, marked("input"), idempotency_key="once")).id == run.id
            with pytest.raises(WorkflowFailed, match=marked("broken")):
                await (await broken.enqueue(client, marked("broken"))).wait_for_completion(SOON)
            with pytest.raises(Exception, match=marked("actor")):
                await Ledger.ref(client, "other").ask.fail(marked("actor"))
            await tick.enqueue(client, marked("delayed"), trigger=Trigger.after(3600))
            schedule = await tick.schedule(client, Schedule.every(3600), marked("schedule"), id="hourly")
            assert (await schedule.describe()).input == marked("schedule")
            assert await (await schedule.trigger()).wait_for_completion(SOON) == marked("schedule")
            seen = await client.schedule("hourly").describe()
            assert (await bare.schedule("hourly").describe()).sealed_with == "k1" and seen.sealed_with is None
            await run.describe()
        text = b"".join(path.read_bytes() for path in (tmp_path / "store").rglob("*") if path.is_file())
    assert b"once" in text, "the files are those of this server"
    assert MARKER.encode() not in text
    for known in (marked("input"), marked("schedule"), marked("entry")):
        data = b'"%b"' % known.encode()
        assert payload_hash(data) not in text and content_hash(data).encode() not in text, "a hash lets somebody guess"
    assert MARKER not in caplog.text and "ValueError" in caplog.text
    told = "".join(span.to_json() for span in spans.get_finished_spans())
    assert "whole" in told and MARKER not in told


async def test_without_a_codec_the_marker_is_found(server: EmbeddedNats, tmp_path: Path) -> None:
    async with await Client.connect(server.url) as client:
        await init(client.transport)
        async with worker_of(client):
            await (await tick.enqueue(client, marked("input"))).wait_for_completion(SOON)
    assert any(MARKER.encode() in path.read_bytes() for path in (tmp_path / "store").rglob("*") if path.is_file())


async def test_keys_are_rotated_while_runs_go_on(server: EmbeddedNats) -> None:
    steps = (codec(None), codec("k1"), codec("k1", k1=K1, k2=K2), codec("k2", k1=K1, k2=K2), codec("k2", k1=K1, k2=K2))
    async with await Client.connect(server.url) as operator:
        await init(operator.transport)
        plain = await whole.enqueue(operator, "begun before")
    runs = [plain]
    for number, each in enumerate(steps):
        async with await Client.connect(server.url, codec=each) as client, worker_of(client):
            runs.append(await whole.enqueue(client, f"begun at {number}"))
            for run in runs:
                at = whole.handle(client, run.id)
                if number == len(steps) - 1:
                    await at.send(note, "end")
                    assert len(await at.wait_for_completion(SOON)) == 4
                else:
                    await eventually(_awaits_event(client, run.id), SOON)


def _awaits_event(client: Client, run_id: str) -> Any:
    async def check() -> bool:
        return (await whole.handle(client, run_id).get_status()).state == "awaiting_event"

    return check


async def test_a_worker_without_the_key_holds_the_run(server: EmbeddedNats, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("host", "activation", "tasks"):
        monkeypatch.setattr(f"aiki.actors.{module}.LEFT_FOR", 0.5)
    both = codec("k2", k1=K1, k2=K2)
    async with (
        await Client.connect(server.url, codec=both) as client,
        await Client.connect(server.url) as bare,
        await Client.connect(server.url, codec=codec()) as old,
    ):
        await init(client.transport)
        run = await tick.enqueue(client, marked("input"), idempotency_key="one")

        async def held() -> bool:
            return (await run.get_status()).state == "stalled"

        for lacking in (bare, old):
            async with worker_of(lacking, tick):
                await eventually(held, SOON)
                status = await tick.handle(bare, run.id).get_status()
                assert status.state == "stalled" and status.sealed_with == "k2" and status.error is not None
                assert status.error.code == "key_missing" and "'k2'" in status.error.message
                assert [each.id async for each in bare.runs(state="stalled")] == [run.id]
                with pytest.raises(KeyMissing, match="'k2'"):
                    await tick.enqueue(bare, "x", idempotency_key="one")
        async with worker_of(client, tick):
            assert await run.wait_for_completion(SOON) == marked("input")
            for reader in (bare, old):
                with pytest.raises(KeyMissing) as missing:
                    await asyncio.wait_for(tick.handle(reader, run.id).wait_for_completion(), SOON)
                assert missing.value.key == "k2"
                view = await tick.handle(reader, run.id).describe()
                assert view.status.state == "completed" and view.input is None and view.status.sealed_with == "k2"
