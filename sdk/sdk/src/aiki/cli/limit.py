"""`aiki limit`: see the limits of tasks, and who waits for them."""

from typing import TYPE_CHECKING

import click

from aiki.cli.output import emit, table
from aiki.cli.session import Session, command

if TYPE_CHECKING:
    from aiki.client import LimitView

__all__ = ["limit"]


@click.group()
def limit() -> None:
    """See the fleet-wide limits of tasks, what waits for them and what is at work."""


@command("list", limit)
async def list_limits(session: Session) -> None:
    """List the tasks with limits that workers have served."""
    async with await session.connect() as client:
        limits = await client.limits()
    if session.as_json:
        emit(limits)
        return
    _table(limits)


@command("show", limit)
@click.argument("task")
async def show(session: Session, task: str) -> None:
    """Show the limits of TASK: how many of each key wait, and how many are at work."""
    async with await session.connect() as client:
        limits = await client.limits(task)
    if not limits:
        raise click.ClickException(f"no worker has served a task {task!r} that has limits")
    if session.as_json:
        emit(limits)
        return
    _table(limits)
    for view in limits:
        rows = [
            (view.queue, ", ".join(name or "-" for name in each.keys), str(each.priority), str(each.waiting), str(each.at_work))
            for each in view.keys
        ]
        table(("queue", "keys", "priority", "waiting", "at work"), rows, empty=f"nothing waits in queue {view.queue}")


def _table(limits: "list[LimitView]") -> None:
    rows = [
        (
            view.queue,
            view.task,
            ", ".join(view.rules),
            str(view.waiting),
            str(view.at_work),
            "" if view.admitted is None else str(view.admitted),
            view.keeper or "",
        )
        for view in limits
    ]
    table(("queue", "task", "limits", "waiting", "at work", "let in", "keeper"), rows, empty="no limits: no worker has served any")
