"""W3C trace context: one trace from the client's call to the run's end, and no span twice."""

import asyncio
from collections import Counter
from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from aiki.sdk import Context, Retry, TaskContext, task, workflow
from tests.integration.engine.place import Place, eventually

SOON = 20.0


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield exporter
    provider.shutdown()


async def finished(exported: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    async def there() -> bool:
        return any(span.name == name for span in exported.get_finished_spans())

    await eventually(there)
    return list(exported.get_finished_spans())


def parents(spans: list[ReadableSpan]) -> dict[int, ReadableSpan]:
    return {span.context.span_id: span for span in spans if span.context is not None}


@pytest.mark.parametrize("cached", [0, 5000])
async def test_one_trace_and_no_span_twice(place: Place, exported: InMemorySpanExporter, cached: int) -> None:
    @task(name="remote", retry=Retry.fixed(max_attempts=2, delay=1.1))
    async def remote(number: int, info: TaskContext) -> int:
        if number == 2 and info.attempt == 1:
            raise ValueError
        with trace.get_tracer("test").start_as_current_span(f"inside {number}"):
            return number

    @task(name="local", local=True)
    async def local(number: int) -> int:
        return number

    @workflow(name="traced")
    async def traced(ctx: Context) -> int:
        total = await local.run(ctx, 1) + await remote.run(ctx, 1)
        await ctx.sleep(1.2)
        return total + sum(await asyncio.gather(local.run(ctx, 2), remote.run(ctx, 2), local.run(ctx, 3)))

    await place.worker(traced, remote, local, cached_runs=cached)
    with trace.get_tracer("test").start_as_current_span("caller") as caller:
        handle = await traced.enqueue(place.client)
    assert await handle.wait_for_completion(timeout=SOON) == 9
    spans = await finished(exported, "workflow traced")
    assert {span.context.trace_id for span in spans if span.context is not None} == {caller.get_span_context().trace_id}
    names = Counter(span.name for span in spans)
    turns = names.pop("turn traced")
    assert turns >= 4
    assert names == {
        "caller": 1,
        "enqueue traced": 1,
        "workflow traced": 1,
        "task local": 3,
        "task remote": 3,  # one of them is the attempt that failed
        "inside 1": 1,
        "inside 2": 1,
    }
    known = parents(spans)
    for span in spans:
        if span.name != "caller":
            assert span.parent is not None and span.parent.span_id in known, f"{span.name} has an unknown parent"
    for span in spans:
        if span.name.startswith("inside"):
            assert span.parent is not None and known[span.parent.span_id].name == "task remote"
        if span.name == "enqueue traced":
            assert span.parent is not None and known[span.parent.span_id].name == "caller"
    run = next(span for span in spans if span.name == "workflow traced")
    assert run.attributes is not None and run.attributes["aiki.run_id"] == handle.id and run.attributes["aiki.state"] == "completed"


async def test_failures_are_marked_without_their_text(place: Place, exported: InMemorySpanExporter) -> None:
    @task(name="fails")
    async def fails(_: None) -> None:
        raise ValueError("secret")

    @workflow(name="failing")
    async def failing(ctx: Context) -> None:
        await fails.run(ctx, None)

    await place.worker(failing, fails)
    handle = await failing.enqueue(place.client)
    with pytest.raises(Exception, match="secret"):
        await handle.wait_for_completion(timeout=SOON)
    spans = await finished(exported, "workflow failing")
    failed = {span.name: span for span in spans if not span.status.is_ok and span.status.status_code.name == "ERROR"}
    assert set(failed) == {"task fails", "workflow failing"}
    assert failed["task fails"].attributes is not None and failed["task fails"].attributes["error.type"] == "ValueError"
    assert "secret" not in str([(span.attributes, span.status.description, span.events) for span in spans])


async def test_runs_of_a_client_without_a_span_do_not_share_a_trace(place: Place, exported: InMemorySpanExporter) -> None:
    @workflow(name="alone")
    async def alone(ctx: Context) -> None:
        return None

    await place.worker(alone)
    for _ in range(2):
        await (await alone.enqueue(place.client)).wait_for_completion(timeout=SOON)

    async def both() -> bool:
        return sum(span.name == "workflow alone" for span in exported.get_finished_spans()) == 2

    await eventually(both)
    ids = [span.context.trace_id for span in exported.get_finished_spans() if span.context is not None and span.name == "workflow alone"]
    assert len(set(ids)) == 2
