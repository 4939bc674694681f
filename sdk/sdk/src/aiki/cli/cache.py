"""`aiki cache`: see and invalidate the cached results of tasks."""

import click

from aiki.cli.output import emit, instant, short, table
from aiki.cli.session import Session, command

__all__ = ["cache"]


@click.group()
def cache() -> None:
    """See the results of tasks that runs share, and have them forgotten."""


@command("list", cache)
@click.argument("task", required=False)
async def list_cached(session: Session, task: str | None) -> None:
    """List the cached results of TASK, or of all tasks."""
    async with await session.connect() as client:
        found = await client.cached(task)
    if session.as_json:
        emit(found)
        return
    rows = [(each.task, each.id, each.key, each.version, short(each.value, 40), instant(each.expires_at), each.run) for each in found]
    table(("task", "id", "key", "version", "value", "until (UTC)", "run"), rows, empty="nothing is cached")


@command("invalidate", cache)
@click.argument("task")
@click.argument("key")
async def invalidate(session: Session, task: str, key: str) -> None:
    """Forget the results of TASK with that KEY, or with that id, as `list` shows them."""
    async with await session.connect() as client:
        ids = [each.id for each in await client.cached(task) if key in (each.key, each.id)]
        for id in ids:
            await client.invalidate_cached(task, id)
    _say(session, task, len(ids))


@command("clear", cache)
@click.argument("task")
async def clear(session: Session, task: str) -> None:
    """Forget all cached results of TASK."""
    async with await session.connect() as client:
        number = await client.clear_cached(task)
    _say(session, task, number)


def _say(session: Session, task: str, number: int) -> None:
    if session.as_json:
        emit({"task": task, "forgotten": number})
    else:
        click.echo(f"{number} {'result' if number == 1 else 'results'} of task {task} forgotten")
