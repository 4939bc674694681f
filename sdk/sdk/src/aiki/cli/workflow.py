"""`aiki workflow`: versions of workflows, what still uses them, and their retirement."""

import click

from aiki.cli.output import console, emit, grid, instant, table
from aiki.cli.session import Session, command

__all__ = ["workflow"]


@click.group()
def workflow() -> None:
    """See the versions of workflows, and retire those that are to take no new runs."""


@command("list", workflow)
@click.argument("name", required=False)
async def list_versions(session: Session, name: str | None) -> None:
    """List the versions that workers serve, that schedules start, or that are retired; of NAME only, if it is given."""
    async with await session.connect() as client:
        views = await client.versions(name)
    if session.as_json:
        emit(views)
        return
    rows = [
        (
            each.workflow,
            each.version,
            f"retired {instant(each.retired_at)} {each.reason}".strip() if each.retired else "open",
            ", ".join(each.workers),
            ", ".join(each.schedules),
        )
        for each in views
    ]
    table(("workflow", "version", "", "workers", "schedules"), rows, empty="nobody serves a workflow, and none is retired")


@command("show", workflow)
@click.argument("name")
@click.argument("version")
async def show(session: Session, name: str, version: str) -> None:
    """Show what still uses VERSION of workflow NAME: its runs by state, its schedules, the workers that serve it."""
    async with await session.connect() as client:
        view = await client.version(name, version)
    if session.as_json:
        emit(view)
        return
    runs = ", ".join(f"{count} {state}" for state, count in (view.runs or {}).items())
    state = f"retired {instant(view.retired_at)} {view.reason}".strip() if view.retired else "open: it takes new runs"
    facts = [
        ("workflow", f"{view.workflow} {view.version}"),
        ("state", f"{state}; drained: no run is left" if view.drained else state),
        ("runs", runs or "none"),
        ("schedules", ", ".join(view.schedules) or "none"),
        ("workers", ", ".join(view.workers) or "none"),
    ]
    console().print(grid(("", ""), facts))


@command("retire", workflow)
@click.argument("name")
@click.argument("version")
@click.option("--reason", default="", help="Why; whoever is refused is told.")
async def retire(session: Session, name: str, version: str, reason: str) -> None:
    """Let VERSION of workflow NAME take no new runs, within seconds. Those that there are go on."""
    async with await session.connect() as client:
        await client.retire_version(name, version, reason)
    done = {"workflow": name, "version": version, "retired": True}
    emit(done) if session.as_json else click.echo(f"version {version} of workflow {name} takes no new runs")


@command("unretire", workflow)
@click.argument("name")
@click.argument("version")
async def unretire(session: Session, name: str, version: str) -> None:
    """Let VERSION of workflow NAME take new runs again."""
    async with await session.connect() as client:
        await client.unretire_version(name, version)
    done = {"workflow": name, "version": version, "retired": False}
    emit(done) if session.as_json else click.echo(f"version {version} of workflow {name} takes new runs")
