"""Webhooks: a URL answers one wait, once, in time, with what fits its type. On the engine, in virtual time."""

import asyncio
import logging
from datetime import datetime, timedelta

import msgspec
import pytest

from aiki.client.webhooks import Delivered
from aiki.sdk import (
    Context,
    DefinitionError,
    EventTimeout,
    PayloadError,
    PayloadTooLarge,
    Retry,
    RunEnded,
    RunHandle,
    Webhook,
    WebhookExpired,
    WebhookInvalid,
    WorkflowCancelled,
    WorkflowFailed,
    workflow,
)
from aiki.testing import TestEnvironment, replay

DAY = timedelta(days=1)


class Approval(msgspec.Struct):
    by: str
    yes: bool = True


@workflow(name="review")
async def review(ctx: Context, expires: float) -> str:
    hook = await ctx.webhook("approval", Approval, expires=expires)
    await ctx.publish(hook.url)
    try:
        approval = await hook.wait(timeout=DAY)
    except EventTimeout:
        approval = await hook.wait()
    return approval.by


async def token_of(handle: RunHandle[str]) -> str:
    async for update in handle.updates():
        return str(update.data).rpartition("/")[2]
    raise AssertionError


@pytest.fixture
async def env() -> TestEnvironment:
    return TestEnvironment.in_memory()


async def test_an_answer_comes_to_the_run_that_waits(env: TestEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIKI_PUBLIC_URL", "https://example.org/aiki/")
    async with env:
        await env.worker(review)
        handle = await review.enqueue(env.client, 7 * 86_400)
        async for update in handle.updates():
            assert update.data.startswith("https://example.org/aiki/hooks/1.")
            break
        token = await token_of(handle)
        delivered = env.after(2 * DAY).do(lambda: env.client.deliver_webhook(token, b'{"by": "Ann"}'))
        assert await handle.wait_for_completion() == "Ann"
        assert await delivered.wait() == "received"
        # The sender did not hear that, and sends it again.
        assert await env.client.deliver_webhook(token, b'{"by": "Ann"}') == "already_received"
        assert replay(review, await handle.history()).output == "Ann"


async def test_of_many_answers_one_is_received(env: TestEnvironment) -> None:
    async with env:
        await env.worker(review)
        handle = await review.enqueue(env.client, 60)
        token = await token_of(handle)
        bodies = [msgspec.json.encode(Approval(f"sender {number}")) for number in range(20)]
        told: list[Delivered] = await asyncio.gather(*(env.client.deliver_webhook(token, body) for body in bodies))
        assert (told.count("received"), told.count("already_received")) == (1, 19)
        assert await handle.wait_for_completion() == f"sender {told.index('received')}"


async def test_what_does_not_fit_is_refused_and_the_wait_goes_on(env: TestEnvironment) -> None:
    async with env:
        await env.worker(review)
        handle = await review.enqueue(env.client, 3600)
        token = await token_of(handle)
        for body in (b"{}", b'{"by": 3}', b"not json", b"\xff", b"", b"[" * 100_000):
            with pytest.raises(PayloadError):
                await env.client.deliver_webhook(token, body)
        with pytest.raises(PayloadTooLarge):
            await env.client.deliver_webhook(token, b'{"by": "' + b"x" * 300_000 + b'"}')
        assert await env.client.deliver_webhook(token, b'{"by": "Ann"}') == "received"
        assert await handle.wait_for_completion() == "Ann"


async def test_nobody_guesses(env: TestEnvironment) -> None:
    async with env:
        await env.worker(review)
        token = await token_of(await review.enqueue(env.client, 3600))
        for guess in (
            "",
            "x",
            token[:-1],
            token + "A",
            token.replace("1.", "2.", 1),
            "1.....",
            "1.é.a.b",
            f"1.ffffffff.{token.split('.', 2)[2]}",
        ):
            with pytest.raises(WebhookInvalid, match="no webhook of ours"):
                await env.client.deliver_webhook(guess, b'{"by": "Eve"}')


async def test_a_hook_expires_for_the_sender_and_then_for_the_run(env: TestEnvironment) -> None:
    async with env:
        await env.worker(review)
        handle = await review.enqueue(env.client, 2 * 86_400)
        token = await token_of(handle)
        late = env.after(2 * DAY).do(lambda: env.client.deliver_webhook(token, b'{"by": "Ann"}'))
        with pytest.raises(WebhookExpired) as caught:
            await late.wait()
        assert (caught.value.hook, caught.value.run_id) == ("approval", handle.id)
        with pytest.raises(WorkflowFailed) as failed:
            await handle.wait_for_completion()
        assert failed.value.error.code == "webhook_expired"


async def test_an_answer_to_a_run_that_has_ended(env: TestEnvironment) -> None:
    async with env:
        await env.worker(review)
        handle = await review.enqueue(env.client, 86_400)
        token = await token_of(handle)
        await handle.terminate()
        with pytest.raises(WorkflowCancelled):
            await handle.wait_for_completion()
        with pytest.raises(RunEnded):
            await env.client.deliver_webhook(token, b'{"by": "Ann"}')


async def test_hooks_of_one_name_are_told_apart_and_each_gives_its_answer_again(env: TestEnvironment) -> None:
    @workflow(name="two")
    async def two(ctx: Context) -> list[int]:
        first = await ctx.webhook("part", int)
        second = await ctx.webhook("part", int)
        await ctx.publish([first.url, second.url])
        later, now = await asyncio.gather(second.wait(), first.wait())
        return [now, later, await first.wait(), await second.wait()]

    async with env:
        await env.worker(two)
        handle = await two.enqueue(env.client)
        tokens: list[str] = []
        async for update in handle.updates():
            tokens = [str(url).rpartition("/")[2] for url in update.data]
            break
        await env.client.deliver_webhook(tokens[1], b"2")
        await env.client.deliver_webhook(tokens[0], b"1")
        assert await handle.wait_for_completion() == [1, 2, 1, 2]


@pytest.mark.parametrize("number", range(1, 5))
@pytest.mark.parametrize("paused", [False, True])
async def test_an_answer_outlives_crashes_and_attempts(number: int, paused: bool) -> None:
    failures = iter([True, False, False, False, False])

    @workflow(name="clumsy", retry=Retry.fixed(max_attempts=3, delay=60))
    async def clumsy(ctx: Context) -> str:
        hook = await ctx.webhook("approval", Approval)
        await ctx.publish(hook.url)
        approval = await hook.wait()
        fails = await ctx.step(f"fails {ctx.attempt}", lambda: next(failures))
        if fails:
            raise ValueError("clumsy")
        return f"{approval.by} {ctx.attempt}"

    async with TestEnvironment.in_memory(always_replay=True) as env:
        await env.worker(clumsy)
        crash = env.crash_after_commit(number, restart=True)
        handle = await clumsy.enqueue(env.client)
        token = await token_of(handle)
        if paused:
            await handle.pause()
        assert await env.client.deliver_webhook(token, b'{"by": "Ann"}') == "received"
        if paused:
            await env.advance(30 * DAY)
            await handle.resume()
        assert await handle.wait_for_completion() == "Ann 2"
        assert crash.happened


async def test_keys_are_made_once_and_rotated(env: TestEnvironment) -> None:
    async with env:
        await env.worker(review)
        old = await review.enqueue(env.client, 86_400)
        old_token = await token_of(old)
        await env.client.rotate_webhook_key()
        await env.advance(61)
        new_token = await token_of(await review.enqueue(env.client, 86_400))
        assert new_token.split(".")[1] != old_token.split(".")[1]
        assert await env.client.deliver_webhook(old_token, b'{"by": "Ann"}') == "received"
        await env.client.rotate_webhook_key(forget=True)
        with pytest.raises(WebhookInvalid):
            await env.client.deliver_webhook(new_token, b'{"by": "Ann"}')


async def test_secrets_of_the_environment(env: TestEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIKI_SECRET", "an-old-secret-of-mine")
    async with env:
        await env.worker(review)
        handle = await review.enqueue(env.client, 86_400)
        token = await token_of(handle)
        with pytest.raises(DefinitionError, match="AIKI_SECRET"):
            await env.client.rotate_webhook_key()
        monkeypatch.setenv("AIKI_SECRET", "another-secret-of-mine")
        with pytest.raises(WebhookInvalid):
            await env.client.deliver_webhook(token, b'{"by": "Ann"}')
        monkeypatch.setenv("AIKI_SECRET", "another-secret-of-mine an-old-secret-of-mine")
        assert await env.client.deliver_webhook(token, b'{"by": "Ann"}') == "received"


async def test_a_url_is_not_logged(env: TestEnvironment, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Webhook[Approval]] = []

    @workflow(name="shown")
    async def shown(ctx: Context) -> str:
        hook = await ctx.webhook("approval", Approval, expires=timedelta(days=400))
        seen.append(hook)
        ctx.logger.warning("made %s", hook)
        return hook.expires_at.isoformat()

    with caplog.at_level(logging.DEBUG):
        async with env:
            await env.worker(shown)
            expires = await env.run(shown)
            assert timedelta(days=399) < datetime.fromisoformat(expires) - env.now() < timedelta(days=401)
    assert seen[0].url not in caplog.text
    assert "made <webhook 'approval'>" in caplog.text


@pytest.mark.parametrize(("name", "expires"), [("", 60), ("a", 0), ("a", -1)])
async def test_a_hook_that_makes_no_sense(env: TestEnvironment, name: str, expires: float) -> None:
    @workflow(name="wrong")
    async def wrong(ctx: Context) -> None:
        await ctx.webhook(name, expires=expires)

    async with env:
        await env.worker(wrong)
        with pytest.raises(WorkflowFailed):
            await env.run(wrong)
