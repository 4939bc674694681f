"""`aiki archive` and `aiki history` on a real server, in processes of their own."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from aiki.actors import init
from aiki.sdk import Client, Context, Retention, Worker, WorkflowFailed, workflow
from aiki.testing import TestEnvironment
from aiki.transport import EmbeddedNats
from tests.integration.cli.command import Command

RUNS = 60


@workflow(name="settle", archive=True, retention=Retention(completed=1, failed=None))
async def settle(ctx: Context, amount: int) -> int:
    if amount < 0:
        raise ValueError("a debt")
    return await ctx.step("settle", lambda: amount)


@pytest.fixture
async def region() -> AsyncIterator[tuple[Command, Client]]:
    """A server of its own: commands look at the region `default`."""
    async with EmbeddedNats() as server, await Client.connect(server.url) as client:
        await init(client.transport)
        worker = Worker(client)
        worker.registry.add(settle)
        async with worker:
            yield Command(server.url), client


async def off(command: Command, *arguments: str) -> object:
    return await asyncio.to_thread(command.json, *arguments)


async def test_runs_are_archived_listed_shown_and_brought_back(region: tuple[Command, Client], tmp_path: Path) -> None:
    command, client = region
    good = await settle.enqueue(client, 5, idempotency_key="five")
    bad = await settle.enqueue(client, -5)
    assert await good.wait_for_completion(timeout=20) == 5
    with pytest.raises(WorkflowFailed):
        await bad.wait_for_completion(timeout=20)
    export = tmp_path / "bad.json"
    await off(command, "run", "history", bad.id, "--export", str(export))
    folder = tmp_path / "archive"
    assert await off(command, "archive", "run", "--to", str(folder), "--once") == {"archived": 2, "to": str(folder)}
    assert await off(command, "archive", "run", "--to", str(folder), "--once") == {"archived": 0, "to": str(folder)}
    listed = await off(command, "archive", "list", str(folder))
    assert isinstance(listed, list)
    assert {(each["run"], each["state"], each["key"]) for each in listed} == {(good.id, "completed", "five"), (bad.id, "failed", None)}
    assert (await bad.get_status()).archived_at is not None
    shown = await off(command, "history", "show", str(folder), "--run", good.id)
    assert isinstance(shown, dict)
    assert (shown["run"]["output"], [entry["entry"] for entry in shown["journal"]]) == (5, ["step"])
    assert "state     failed" in (await asyncio.to_thread(command, "history", "show", str(export))).stdout
    # Both runs are gone, and come back: one out of the archive, one out of its export.
    for handle in (good, bad):
        await client.store.purge(handle.id)
    assert "run_not_found" in await asyncio.to_thread(command.failure, "run", "show", good.id)
    await off(command, "history", "import", str(folder), "--run", good.id, "--keep", "600")
    await off(command, "history", "import", str(export))
    seen = await off(command, "run", "show", good.id)
    assert isinstance(seen, dict)
    assert (seen["status"]["state"], seen["output"], seen["status"]["idempotency_key"]) == ("completed", 5, "five")
    assert seen["status"]["imported_at"] is not None
    assert "imported  " in (await asyncio.to_thread(command, "run", "show", bad.id)).stdout
    assert "not_retryable: run" in await asyncio.to_thread(command.failure, "run", "retry", bad.id)
    assert isinstance(await off(command, "run", "history", good.id), list)
    again = await asyncio.to_thread(command.failure, "history", "show", str(folder), "--run", "0" * 26)
    assert again.startswith("aiki: run_not_found: there is no run")
    assert (await asyncio.to_thread(command, "history", "import", str(folder))).returncode == 2, "which of them?"
    # A start under the key of a copy is a start.
    fresh = await settle.enqueue(client, 6, idempotency_key="five")
    assert await fresh.wait_for_completion(timeout=20) == 6
    refused = await asyncio.to_thread(command.failure, "history", "import", str(folder), "--run", good.id)
    assert refused.startswith("aiki: import_refused: ")


async def test_an_archiver_is_killed_and_another_goes_on(region: tuple[Command, Client], tmp_path: Path) -> None:
    command, client = region
    with await asyncio.to_thread(command.service, "archive", "run", "--to", str(tmp_path)) as first:
        handles = [await settle.enqueue(client, number) for number in range(RUNS)]
        await handles[0].wait_for_completion(timeout=20)
        first.stop(signal.SIGKILL)
    with await asyncio.to_thread(command.service, "archive", "run", "--to", str(tmp_path)) as second:
        limit = time.monotonic() + 20
        while True:
            listed = await off(command, "archive", "list", str(tmp_path))
            assert isinstance(listed, list)
            if len(listed) == RUNS:
                break
            assert time.monotonic() < limit
        assert {each["run"] for each in listed} == {handle.id for handle in handles}
        assert await asyncio.to_thread(second.stop) == 0


async def test_the_archive_service_on_a_real_server(tmp_path: Path) -> None:
    """What is archived expires, its retention over."""
    from aiki.sdk import Archiver

    async with TestEnvironment.nats() as env, Archiver(env.client, tmp_path / "all.gz") as archiver:
        await env.worker(settle)
        handle = await settle.enqueue(env.client, 1)
        while archiver.archived < 1:
            await env.advance(0.01)
        found = await env.client.load(handle.id)
        assert found is not None and found[0].archival is not None and found[0].archival.archived_at is not None
