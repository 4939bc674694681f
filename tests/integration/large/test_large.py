"""Large payloads on real NATS: 20 MB through a task, under a codec, and the command line."""

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from aiki.actors import init
from aiki.cli.main import cli
from aiki.codec import new_key
from aiki.schema import claimed
from aiki.sdk import AesGcmCodec, Client, Context, Worker, event, task, workflow
from aiki.transport import EmbeddedNats
from benchmarks.blobs.measure import through

SOON = 30.0
MARKER = "xyzzyLARGE"
more = event("more", str)


@task(name="double")
async def double(text: str) -> str:
    return text + text


@workflow(name="doubles")
async def doubles(ctx: Context, text: str) -> str:
    return await double.run(ctx, text) + await ctx.wait_for(more)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[EmbeddedNats]:
    async with EmbeddedNats(store=tmp_path / "store") as embedded:
        yield embedded


def worker_of(client: Client) -> Worker:
    worker = Worker(client)
    worker.registry.add(doubles).add(double)
    return worker


async def test_twenty_megabytes_through_a_task_an_event_and_a_result(server: EmbeddedNats) -> None:
    async with await Client.connect(server.url) as client, await Client.connect(server.url) as other:
        await init(client.transport)
        async with worker_of(other):
            handle = await doubles.enqueue(client, "a" * 10_000_000)
            await handle.send(more, "é" * 5_000_000)
            assert await handle.wait_for_completion(SOON) == "a" * 20_000_000 + "é" * 5_000_000
            view = await handle.describe()
            assert view.output["$aiki.claim"]["size"] == 30_000_002
        assert sorted(view.size for view in await client.list_blobs()) == [10_000_002, 10_000_002, 20_000_002, 30_000_002]


async def test_with_a_codec_nothing_of_a_large_payload_is_in_the_files(
    server: EmbeddedNats, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="aiki")
    key = new_key()
    text = MARKER * 30_000
    async with (
        await Client.connect(server.url, codec=AesGcmCodec({"k1": key}, "k1")) as client,
        await Client.connect(server.url) as bare,
    ):
        await init(client.transport)
        async with worker_of(client):
            handle = await doubles.enqueue(client, text)
            await handle.send(more, text)
            assert await handle.wait_for_completion(SOON) == text * 3
        assert {run for view in await bare.list_blobs() for run in view.runs} == {handle.id}
        assert (await bare.collect_blobs()).blobs == 0
    files = b"".join(path.read_bytes() for path in (tmp_path / "store").rglob("*") if path.is_file())
    assert handle.id.encode() in files and MARKER.encode() not in files and MARKER not in caplog.text
    for known in (text, text * 2, text * 3):
        assert claimed(b'"%b"' % known.encode()).sha256.encode() not in files, "a hash lets somebody guess"


async def test_what_was_stored_before_there_was_a_codec_is_read_with_one(server: EmbeddedNats) -> None:
    async with await Client.connect(server.url) as client:
        await init(client.transport)
        handle = await doubles.enqueue(client, "a" * 200_000)
    async with await Client.connect(server.url, codec=AesGcmCodec({"k1": new_key()}, "k1")) as client, worker_of(client):
        handle = doubles.handle(client, handle.id)
        await handle.send(more, "b")
        assert len(await handle.wait_for_completion(SOON)) == 400_001


async def test_the_command_line_lists_and_collects(server: EmbeddedNats) -> None:
    async with await Client.connect(server.url) as client:
        await init(client.transport)
        run = await doubles.enqueue(client, "a" * 200_000)

    def aiki(*words: str) -> str:
        result = CliRunner().invoke(cli, [*words, "--url", server.url])
        assert result.exit_code == 0, result.output
        return result.output

    listed = json.loads(await asyncio.to_thread(aiki, "blob", "list", "--json"))
    assert [(each["size"], each["runs"]) for each in listed] == [(200_002, [run.id])]
    assert "200,002" in await asyncio.to_thread(aiki, "blob", "list")
    assert json.loads(await asyncio.to_thread(aiki, "blob", "collect", "--json"))["blobs"] == 0
    assert re.match(r"0 collected", await asyncio.to_thread(aiki, "blob", "collect", "--older-than", "48"))
    assert "$aiki.claim" in await asyncio.to_thread(aiki, "run", "show", run.id, "--json")


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_a_hundred_megabytes_do_not_hold_the_loop_of_a_task_worker() -> None:
    from benchmarks.beside import beside

    async with beside("benchmarks.blobs.worker") as (client, _):
        gaps = []
        for kind in ("str", "bytes"):
            _, gap = await through(client, kind, 100_000_000)
            gaps.append(gap)
        assert max(gaps) < 0.25, gaps  # 50 ms on a machine of its own
