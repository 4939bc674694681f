"""Runs that end are kept for as long as was said, archived before they go, and brought back for a look; in memory, in virtual time."""

import asyncio
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from aiki.archive import Archive
from aiki.client import RunHistory
from aiki.journal import decode_state
from aiki.sdk import (
    Archiver,
    Client,
    Context,
    DefinitionError,
    ImportRefused,
    NotRetryable,
    PayloadError,
    Retention,
    RunEnded,
    RunNotFound,
    Trigger,
    WorkflowFailed,
    event,
    task,
    workflow,
)
from aiki.testing import TestEnvironment

DAY = 86_400.0


@task(name="blob", local=True)
async def blob(number: int) -> str:
    return str(number % 10) * 30_000


@workflow(name="long", archive=True, retention=10 * DAY)
async def long(ctx: Context) -> int:
    return sum([len(await blob.run(ctx, number)) for number in range(5)])


@workflow(name="echo", archive=True, retention=2 * DAY)
async def echo(ctx: Context, number: int) -> int:
    if number < 0:
        raise ValueError("negative")
    return number


async def keys(client: Client) -> list[str]:
    return await client.transport.subjects(client.subjects.runs_stream, client.subjects.runs_prefix + ">")


async def waiting(client: Client) -> list[str]:
    return await client.transport.subjects(client.subjects.mail_stream, client.subjects.archive_mail + ">")


async def archived(env: TestEnvironment, run_id: str) -> None:
    """Until it says so."""
    while True:
        found = await env.client.load(run_id)
        if found is not None and not found[0].awaits_archive:
            return
        await env.advance(0.1)


async def test_each_outcome_is_kept_for_its_time_and_the_worker_says_the_rest() -> None:
    @workflow(name="mixed", retention=Retention(completed=timedelta(hours=1), failed=None))
    async def mixed(ctx: Context, fate: str) -> None:
        if fate == "failed":
            raise ValueError(fate)
        if fate != "completed":
            await ctx.sleep(DAY)

    @workflow(name="plain")
    async def plain(ctx: Context) -> None: ...

    async with TestEnvironment.in_memory() as env:
        await env.worker(mixed, plain, retention=Retention(completed=5 * 3600, cancelled=3 * 3600))
        runs = {fate: await mixed.enqueue(env.client, fate) for fate in ("completed", "failed", "cancelled")}
        runs["plain"] = await plain.enqueue(env.client)
        await env.advance(60)
        await runs["cancelled"].cancel()

        async def left() -> set[str]:
            return {fate for fate, handle in runs.items() if await env.client.load(handle.id) is not None}

        await env.advance(60)
        assert await left() == {"completed", "failed", "cancelled", "plain"}
        await env.advance(3600)
        assert await left() == {"failed", "cancelled", "plain"}
        await env.advance(2 * 3600)
        assert await left() == {"failed", "plain"}
        await env.advance(2 * 3600)
        assert await left() == {"failed"}
        await env.advance(1000 * DAY)
        assert await left() == {"failed"}, "None is for ever"


async def test_a_run_that_is_retried_is_kept_with_its_segments() -> None:
    open_shop = False

    @workflow(name="shop", retention=DAY)
    async def shop(ctx: Context) -> int:
        total = sum([len(await blob.run(ctx, number)) for number in range(5)])
        if not open_shop:
            raise ValueError("closed")
        await ctx.sleep(10 * DAY)
        return total

    async with TestEnvironment.in_memory(always_replay=True) as env:
        await env.worker(shop, blob)
        handle = await shop.enqueue(env.client)
        with pytest.raises(WorkflowFailed):
            await handle.wait_for_completion()
        assert len(await keys(env.client)) > 1
        await env.advance(DAY / 2)
        open_shop = True
        await handle.retry()
        assert await handle.wait_for_completion() == 150_000
        await env.advance(DAY + 5)
        assert await keys(env.client) == []


async def test_nothing_expires_before_it_is_archived_and_everything_after(tmp_path: Path) -> None:
    async with TestEnvironment.in_memory() as env:
        await env.worker(echo, long, blob)
        runs = [await echo.enqueue(env.client, number) for number in range(5)]
        big = await long.enqueue(env.client)
        assert await big.wait_for_completion() == 150_000
        await env.advance(100 * DAY)
        assert len([run async for run in env.client.runs()]) == 6, "no archiver has come yet"
        assert (await runs[0].get_status()).archived_at is None
        async with Archiver(env.client, tmp_path):
            for handle in (*runs, big):
                await archived(env, handle.id)
        await env.advance(120)
        assert await keys(env.client) == [] and await waiting(env.client) == [], "their time was over long ago"
        records = list(Archive(tmp_path).records())
        assert {each.run_id for each in records} == {handle.id for handle in (*runs, big)}
        found = Archive(tmp_path).find(big.id)
        assert found is not None and len(found.segments) > 0
        with pytest.raises(RunNotFound):
            await big.get_status()


async def test_what_is_left_of_the_retention_counts_from_the_end(tmp_path: Path) -> None:
    async with TestEnvironment.in_memory() as env:
        await env.worker(echo, long, blob)
        handle, big = await echo.enqueue(env.client, 1), await long.enqueue(env.client)
        await handle.wait_for_completion()
        await big.wait_for_completion()
        await env.advance(DAY)
        assert await Archiver(env.client, tmp_path).once() == 2
        assert (await handle.get_status()).archived_at is not None
        assert await Archiver(env.client, tmp_path).once() == 0
        assert await waiting(env.client) == []
        await env.advance(DAY - 60)
        assert await env.client.load(handle.id) is not None
        await env.advance(120)
        assert await env.client.load(handle.id) is None
        assert (await big.describe()).steps[-1].output == "4" * 30_000
        await env.advance(9 * DAY)
        assert await keys(env.client) == []


async def test_each_end_of_a_retried_run_is_archived(tmp_path: Path) -> None:
    fail = True

    @workflow(name="again", archive=True)
    async def again(ctx: Context) -> str:
        if fail:
            raise ValueError("not yet")
        return "done"

    async with TestEnvironment.in_memory() as env, Archiver(env.client, tmp_path):
        await env.worker(again)
        handle = await again.enqueue(env.client)
        with pytest.raises(WorkflowFailed):
            await handle.wait_for_completion()
        await archived(env, handle.id)
        fail = False
        await handle.retry()
        assert await handle.wait_for_completion() == "done"
        await archived(env, handle.id)
        assert [each.outcome for each in Archive(tmp_path).records(run_id=handle.id)] == ["failed", "completed"]


@workflow(name="renewed", archive=True, retention=DAY)
async def renewed(ctx: Context, left: int) -> int:
    for number in range(30):
        await blob.run(ctx, number % 3)
    if left:
        return await ctx.continue_as_new(left - 1)
    if ctx.attempt == 1:
        raise ValueError("not yet")
    return ctx.generation


async def test_each_end_is_archived_of_a_run_that_is_reset_and_one_that_continues_as_new(tmp_path: Path) -> None:
    async with TestEnvironment.in_memory() as env, Archiver(env.client, tmp_path):
        await env.worker(renewed, echo, long, blob)
        back, handle = await long.enqueue(env.client), await renewed.enqueue(env.client, 1)
        assert await back.wait_for_completion() == 150_000
        with pytest.raises(WorkflowFailed):
            await handle.wait_for_completion()
        await archived(env, back.id)
        await archived(env, handle.id)
        # Within the time for which the stream knows the ids of messages.
        await back.reset("blob", call=3)
        await handle.retry()
        await env.advance(5)
        assert await back.wait_for_completion() == 150_000
        assert await handle.wait_for_completion() == 1
        await archived(env, back.id)
        await archived(env, handle.id)
        for run, ends in ((back, ["completed", "completed"]), (handle, ["failed", "completed"])):
            assert [each.outcome for each in Archive(tmp_path).records(run_id=run.id)] == ends
        await env.advance(20 * DAY)
        assert await keys(env.client) == [], "not even a segment is left"
        for run in (back, handle):
            record = Archive(tmp_path).find(run.id)
            assert record is not None
            copy = await env.client.import_history(RunHistory.from_json(record.to_json()))
            assert (await copy.describe()).status.state == "completed"
        record = Archive(tmp_path).find(handle.id)
        assert record is not None and decode_state(record.state).base > 0


async def test_the_worker_says_whether_to_archive_and_a_run_that_nobody_began_is_archived_too(tmp_path: Path) -> None:
    @workflow(name="never", archive=False)
    async def never(ctx: Context) -> None: ...

    @workflow(name="asked")
    async def asked(ctx: Context) -> None: ...

    async with TestEnvironment.in_memory() as env:
        unstarted = await asked.enqueue(env.client)
        await unstarted.cancel("changed my mind")
        await env.worker(never, asked, archive=True)
        await never.enqueue(env.client)
        run = await asked.enqueue(env.client)
        await run.wait_for_completion()
        await env.advance(10)
        assert await Archiver(env.client, tmp_path).once() == 2
        assert {each.run_id: each.outcome for each in Archive(tmp_path).records()} == {unstarted.id: "cancelled", run.id: "completed"}


async def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add, calls = Archive.add, 0

    def full(self: Archive, records: list[object]) -> None:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise OSError(28, "No space left on device")
        add(self, records)  # type: ignore[arg-type]

    monkeypatch.setattr(Archive, "add", full)
    async with TestEnvironment.in_memory() as env, Archiver(env.client, tmp_path) as archiver:
        await env.worker(echo)
        handle = await echo.enqueue(env.client, 1)
        await handle.wait_for_completion()
        await archived(env, handle.id)
        assert calls == 3 and archiver.archived == 1
        await env.advance(10)
        assert await waiting(env.client) == []


async def test_two_archivers_share_the_runs_and_the_folder(tmp_path: Path) -> None:
    async with TestEnvironment.in_memory() as env, Archiver(env.client, tmp_path) as one, Archiver(env.client, tmp_path) as two:
        await env.worker(echo)
        runs = [await echo.enqueue(env.client, number) for number in range(200)]
        for handle in runs:
            await archived(env, handle.id)
        assert one.archived + two.archived == 200
        assert len(Archive(tmp_path).files()) == 1
        assert {each.run_id for each in Archive(tmp_path).records()} == {handle.id for handle in runs}


# -- back for a look


async def brought_back(env: TestEnvironment, tmp_path: Path, number: int = 1, key: str | None = None) -> RunHistory:
    """The history of a run of `echo` that is gone."""
    handle = await echo.enqueue(env.client, number, idempotency_key=key)
    await env.advance(60)
    history = RunHistory.from_json((await handle.history()).to_json())
    await Archiver(env.client, tmp_path).once()
    await env.advance(3 * DAY)
    assert await env.client.load(handle.id) is None
    return history


async def test_a_run_comes_back_for_a_look_and_never_runs(tmp_path: Path) -> None:
    async with TestEnvironment.in_memory() as env:
        await env.worker(echo)
        history = await brought_back(env, tmp_path, -1)
        record = Archive(tmp_path).find(history.run_id)
        assert record is not None and record.state == history.state, "an archive has what an export has"
        handle = await env.client.import_history(history, keep=timedelta(hours=1))
        status = await handle.get_status()
        assert (status.id, status.state, status.imported_at) == (history.run_id, "failed", env.now())
        assert status.error is not None and status.error.message == "negative"
        with pytest.raises(WorkflowFailed, match="negative"):
            await handle.wait_for_completion()
        with pytest.raises(NotRetryable, match="copy from an archive"):
            await handle.retry()
        for refused in (handle.cancel(), handle.pause(), handle.send(event("paid", int), 1)):
            with pytest.raises(RunEnded):
                await refused
        await env.client.import_history(history, keep=timedelta(hours=2))  # once more: kept for longer
        assert await Archiver(env.client, tmp_path).once() == 0, "it is not archived again"
        await env.advance(2 * 3600 + 120)
        assert await keys(env.client) == []


async def test_sealed_segments_come_back_and_expire_too(tmp_path: Path) -> None:
    async with TestEnvironment.in_memory() as env:
        await env.worker(long, blob)
        handle = await long.enqueue(env.client)
        await handle.wait_for_completion()
        history = await handle.history()
        await Archiver(env.client, tmp_path).once()
        await env.advance(11 * DAY)
        await env.client.import_history(history)
        assert [step.output for step in (await handle.describe()).steps] == [str(number) * 30_000 for number in range(5)]
        await env.advance(DAY + 120)
        assert await keys(env.client) == []


async def test_a_copy_has_no_say_about_its_key(tmp_path: Path) -> None:
    async with TestEnvironment.in_memory() as env:
        worker = await env.worker(echo)
        history = await brought_back(env, tmp_path, 1, "k")
        await env.client.import_history(history)
        await worker.stop()
        handle = await echo.enqueue(env.client, 2, idempotency_key="k")
        assert handle.id == history.run_id
        assert (await handle.get_status()).state == "queued", "the copy is not taken for the run"
        waits = asyncio.create_task(handle.wait_for_completion())
        await env.advance(30)
        await env.worker(echo)
        assert await waits == 2
        assert (await handle.get_status()).imported_at is None
        with pytest.raises(ImportRefused, match="still there"):
            await env.client.import_history(history)


async def test_a_delayed_start_takes_the_place_of_a_copy(tmp_path: Path) -> None:
    async with TestEnvironment.in_memory() as env:
        await env.worker(echo)
        history = await brought_back(env, tmp_path, 1, "k")
        await env.client.import_history(history, keep=10 * DAY)
        handle = await echo.enqueue(env.client, 2, idempotency_key="k", trigger=Trigger.after(DAY))
        assert (await handle.get_status()).state == "scheduled"
        assert await handle.wait_for_completion() == 2


async def test_a_run_whose_record_is_damaged_holds_nobody_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with TestEnvironment.in_memory() as env:
        await env.worker(long, echo, blob)
        broken = await long.enqueue(env.client)
        await broken.wait_for_completion()
        subjects = env.client.subjects
        await env.client.transport.purge(subjects.runs_stream, f"{subjects.runs_prefix}{broken.id}.*")
        async with Archiver(env.client, tmp_path):
            handle = await echo.enqueue(env.client, 1)
            await handle.wait_for_completion()
            await archived(env, handle.id)
        assert "cannot be archived: run" in caplog.text.replace(broken.id, "run")
        assert await env.client.load(broken.id) is not None, "it is kept"


async def test_a_child_begins_in_the_place_of_a_copy(tmp_path: Path) -> None:
    @workflow(name="parent")
    async def parent(ctx: Context) -> int:
        return await echo.run(ctx, 5, idempotency_key="k")

    async with TestEnvironment.in_memory() as env:
        await env.worker(echo, parent)
        await env.client.import_history(await brought_back(env, tmp_path, 1, "k"))
        assert await env.run(parent) == 5


async def test_what_cannot_be_brought_back_is_refused_before_anything_is_stored(tmp_path: Path) -> None:
    @workflow(name="sleeper")
    async def sleeper(ctx: Context) -> None:
        await ctx.sleep(DAY)

    async with TestEnvironment.in_memory() as env:
        await env.worker(sleeper, long, blob)
        handle = await sleeper.enqueue(env.client)
        await env.advance(60)
        running = await handle.history()
        with pytest.raises(ImportRefused, match="has not ended"):
            await env.client.import_history(running)
        big = await long.enqueue(env.client)
        await big.wait_for_completion()
        whole = await big.history()
        await env.client.store.purge(big.id)
        before = await keys(env.client)
        for broken in (
            msgspec.structs.replace(whole, segments=whole.segments[:-1]),
            msgspec.structs.replace(whole, state=whole.state[:-5]),
            msgspec.structs.replace(whole, run_id=handle.id),
        ):
            with pytest.raises(ImportRefused):
                await env.client.import_history(broken)
        with pytest.raises(DefinitionError, match="keep"):
            await env.client.import_history(whole, keep=0)
        assert await keys(env.client) == before
        with pytest.raises(PayloadError):
            RunHistory.from_json(b"{}")
        with pytest.raises(DefinitionError):
            Archiver(env.client, 5)  # type: ignore[arg-type]
