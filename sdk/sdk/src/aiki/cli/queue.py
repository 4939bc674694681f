"""`aiki queue`: see and pause queues of tasks."""

from datetime import UTC, datetime

import click

from aiki.cli.output import emit, instant, table
from aiki.cli.rule import INSTANT
from aiki.cli.session import Session, command

__all__ = ["queue"]


@click.group()
def queue() -> None:
    """See queues of tasks, pause them as a whole, and let them go on."""


@command("list", queue)
async def list_queues(session: Session) -> None:
    """List the queues that workers have served, and those that are paused, with what waits in them."""
    async with await session.connect() as client:
        queues = await client.queues()
    if session.as_json:
        emit(queues)
        return
    rows = [
        (
            each.name,
            "paused" if each.paused else "open",
            str(sum(task.waiting for task in each.tasks)),
            str(sum(task.running for task in each.tasks)),
            ", ".join(task.task for task in each.tasks),
            " ".join(part for part in (instant(each.paused_at), f"until {instant(each.until)}" if each.until else "", each.reason) if part),
        )
        for each in queues
    ]
    table(("queue", "", "waiting", "running", "tasks", "paused since (UTC), why"), rows, empty="no queues yet: no worker has served any")


@command("pause", queue)
@click.argument("name")
@click.option("--reason", default="", help="Why; `list` tells it.")
@click.option("--until", type=INSTANT, default=None, help="Go on by itself at this instant (UTC unless it says otherwise).")
async def pause(session: Session, name: str, reason: str, until: datetime | None) -> None:
    """Let no worker take up a task of queue NAME, until `resume`. Tasks that run go on; others wait."""
    instant_ = until if until is None or until.tzinfo is not None else until.replace(tzinfo=UTC)
    async with await session.connect() as client:
        await client.pause_queue(name, reason, until=instant_)
    emit({"queue": name, "paused": True}) if session.as_json else click.echo(f"queue {name} is paused")


@command("resume", queue)
@click.argument("name")
async def resume(session: Session, name: str) -> None:
    """Let the workers go on with queue NAME."""
    async with await session.connect() as client:
        await client.resume_queue(name)
    emit({"queue": name, "paused": False}) if session.as_json else click.echo(f"queue {name} goes on")
