"""Runs that one can talk to, for the tests of the command line."""

from typing import Any

from aiki.sdk import Context, Variables, event, task, workflow

__all__ = ["approval", "drafts", "parent", "work"]

approved = event("approved", str)


@task(name="work", queue="slow")
async def work(number: int) -> int:
    return number


@workflow(name="approval", events=[approved])
async def approval(ctx: Context, document: str) -> list[Any]:
    notes: list[str] = []
    who = await ctx.wait_for(approved)
    return [document, who, *notes]


@approval.update("note")
def note(state: Variables, text: str) -> int:
    if not text:
        raise ValueError("an empty note")
    state.notes.append(text)
    return len(state.notes)


@approval.query("notes")
def notes(state: Variables) -> list[str]:
    return list(state.notes)


@workflow(name="parent")
async def parent(ctx: Context, document: str) -> Any:
    await ctx.sleep(3600)
    number = await work.run(ctx, 1)
    return [number, await approval.run(ctx, document)]


@workflow(name="drafts")
async def drafts(ctx: Context, document: str) -> list[Any]:
    draft = await ctx.step("write", lambda: document.upper())
    return [draft, await ctx.wait_for(approved), ctx.generation]
