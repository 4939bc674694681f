"""`aiki schedule`: start runs by the clock."""

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from aiki.cli.output import console, emit, short, table
from aiki.cli.rule import INSTANT, local, rule_options, rule_text, schedule_of
from aiki.cli.session import Session, command

if TYPE_CHECKING:
    from aiki.client import OnConflict, ScheduleView

__all__ = ["schedule"]


@click.group()
def schedule() -> None:
    """Start runs by the clock: cron expressions and intervals. A timer service fires them: `aiki timer`."""


@command("create", schedule)
@click.argument("schedule_id", metavar="ID")
@click.argument("workflow")
@click.argument("payload", default="null", metavar="[JSON|-|@FILE]")
@click.option("--version", default=None, help="The workflow's version (default: the newest that a live worker serves).")
@rule_options
@click.option(
    "--on-conflict",
    type=click.Choice(["error", "return_existing"]),
    default="error",
    show_default=True,
    help="When ID exists with other settings.",
)
async def create(
    session: Session, schedule_id: str, workflow: str, payload: str, version: str | None, on_conflict: "OnConflict", **rule: Any
) -> None:
    """Create the schedule ID, which starts runs of WORKFLOW with a JSON payload. Doing it again with the same settings changes nothing."""
    from aiki.cli.payload import read_payload
    from aiki.client.schedules import Schedules

    made = schedule_of(**rule)
    data = read_payload(payload)
    async with await session.connect() as client:
        chosen = version if version is not None else (await client.find_workflow(workflow))[1]
        await Schedules(client).create(schedule_id, made, workflow, chosen, data, on_conflict=on_conflict)
        view = await client.schedule(schedule_id).describe()
    _done(session, view, f"schedule {schedule_id}: {rule_text(view)}; next {local(view.next[0]) if view.next else 'never'}")


@command("list", schedule)
async def list_schedules(session: Session) -> None:
    """List the schedules, with their next and last firings in this machine's time zone."""
    async with await session.connect() as client:
        views = [view async for view in client.schedules()]
    if session.as_json:
        emit(views)
        return
    rows = [
        (
            view.id,
            f"{view.workflow} {view.version}",
            rule_text(view),
            view.state,
            local(view.next[0]) if view.next and view.state == "active" else "",
            local(view.last.decided_at) if view.last is not None else "",
            _sum(view),
        )
        for view in views
    ]
    table(("schedule", "workflow", "when", "state", "next", "last", ""), rows, empty="no schedules")


@command("show", schedule)
@click.argument("schedule_id", metavar="ID")
async def show(session: Session, schedule_id: str) -> None:
    """Show a schedule: its settings, its counts, the last ten firings and the next ten, in this machine's time zone."""
    async with await session.connect() as client:
        view = await client.schedule(schedule_id).describe()
    if session.as_json:
        emit(view)
        return
    lines = {
        "schedule": view.id,
        "workflow": f"{view.workflow} {view.version}",
        "input": short(view.input, 120),
        "when": rule_text(view),
        "state": f"{view.state}{f' ({view.pause_reason})' if view.pause_reason else ''}",
        "overlap": view.overlap,
        "revision": str(view.revision),
        "firings": _sum(view) or "none",
    }
    out = console()
    for name, text in lines.items():
        out.print(f"{name:<9} {text}", markup=False, soft_wrap=True)
    if view.recent:
        out.print()
        recent = [
            (local(each.planned_at), each.outcome, local(each.decided_at), each.run_id or each.reason) for each in reversed(view.recent)
        ]
        table(("planned", "", "decided", "run, or why there is none"), recent, empty="")
    if view.next:
        out.print()
        table(("if resumed, next" if view.state == "paused" else "next",), [(local(at),) for at in view.next], empty="")


@command("pause", schedule)
@click.argument("schedule_id", metavar="ID")
@click.option("--reason", default="", help="Why; `show` tells it.")
async def pause(session: Session, schedule_id: str, reason: str) -> None:
    """Let no planned firing happen until `resume`."""
    async with await session.connect() as client:
        handle = client.schedule(schedule_id)
        await handle.pause(reason)
        _done(session, await handle.describe(), f"schedule {schedule_id} is paused")


@command("resume", schedule)
@click.argument("schedule_id", metavar="ID")
async def resume(session: Session, schedule_id: str) -> None:
    """Go on with the first firing after now; those in between count as skipped."""
    async with await session.connect() as client:
        handle = client.schedule(schedule_id)
        await handle.resume()
        view = await handle.describe()
    _done(session, view, f"schedule {schedule_id} is {view.state}; next {local(view.next[0]) if view.next else 'never'}")


@command("trigger", schedule)
@click.argument("schedule_id", metavar="ID")
async def trigger(session: Session, schedule_id: str) -> None:
    """Start a run now, also while the schedule is paused or another run goes on. Prints the run's id."""
    async with await session.connect() as client:
        run = await client.schedule(schedule_id).trigger()
    emit({"id": run.id, "workflow": run.workflow, "version": run.version}) if session.as_json else click.echo(run.id)


@command("backfill", schedule)
@click.argument("schedule_id", metavar="ID")
@click.argument("since", type=INSTANT)
@click.argument("until", type=INSTANT)
@click.option("--yes", is_flag=True, help="Also when it starts more than 1,000 runs.")
async def backfill(session: Session, schedule_id: str, since: datetime, until: datetime, yes: bool) -> None:
    """Start the runs that were planned from SINCE to UNTIL. Instants are in UTC unless they say otherwise."""
    begin, end = ((at if at.tzinfo is not None else at.replace(tzinfo=UTC)) for at in (since, until))
    async with await session.connect() as client:
        number = await client.schedule(schedule_id).backfill(begin, end, force=yes)
    emit({"id": schedule_id, "runs": number}) if session.as_json else click.echo(f"{number:,} runs")


@command("update", schedule)
@click.argument("schedule_id", metavar="ID")
@click.option("--payload", default=None, metavar="JSON|-|@FILE", help="The new payload (default: as it is).")
@rule_options
@click.option("--revision", type=int, default=None, help="Only if the schedule is at this revision: nobody has changed it since.")
async def update(session: Session, schedule_id: str, payload: str | None, revision: int | None, **rule: Any) -> None:
    """Change a schedule in place. With --cron or --every all options that say when count anew; else only the payload changes."""
    import msgspec

    from aiki.cli.payload import read_payload

    made = schedule_of(**rule) if rule["cron"] is not None or rule["every"] is not None else None
    data: Any = msgspec.UNSET if payload is None else msgspec.json.decode(read_payload(payload))
    if made is None and payload is None:
        raise click.UsageError("nothing to change: give --cron, --every or --payload")
    async with await session.connect() as client:
        handle = client.schedule(schedule_id)
        await handle.update(schedule=made, payload=data, revision=revision)
        view = await handle.describe()
    _done(session, view, f"schedule {schedule_id} is at revision {view.revision}: {rule_text(view)}")


@command("delete", schedule)
@click.argument("schedule_id", metavar="ID")
async def delete(session: Session, schedule_id: str) -> None:
    """Delete a schedule. Runs that it has started go on."""
    async with await session.connect() as client:
        await client.schedule(schedule_id).delete()
    emit({"id": schedule_id, "deleted": True}) if session.as_json else click.echo(f"schedule {schedule_id} is deleted")


def _done(session: Session, view: "ScheduleView", text: str) -> None:
    emit(view) if session.as_json else click.echo(text)
    sys.stdout.flush()


def _sum(view: "ScheduleView") -> str:
    return ", ".join(f"{number} {outcome}" for outcome, number in view.counts.items() if number)
