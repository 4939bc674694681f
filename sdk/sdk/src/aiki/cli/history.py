"""`aiki history`: runs out of files, to look at."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from aiki.cli.output import console, emit, span, table
from aiki.cli.session import Session, command

if TYPE_CHECKING:
    from aiki.client import RunHistory

__all__ = ["history"]


@click.group()
def history() -> None:
    """Runs out of files: archives, and what `aiki run history ID --export FILE` wrote."""


@command("import", history)
@click.argument("file", type=click.Path(exists=True, path_type=Path), metavar="FILE|DIR")
@click.option("--run", "run_id", default=None, metavar="ID", help="Which run, where there are several.")
@click.option("--keep", type=click.FloatRange(1), default=86_400.0, show_default=True, help="Seconds after which the copy expires.")
async def import_run(session: Session, file: Path, run_id: str | None, keep: float) -> None:
    """Bring a run that has ended back into the region for a look: `aiki run show` and `aiki run history` show it.

    It is a copy: its code never runs, and it cannot be retried.
    """
    found = _find(file, run_id)
    async with await session.connect() as client:
        await client.import_history(found, keep=keep)
    if session.as_json:
        emit({"run": found.run_id, "workflow": found.workflow, "kept": keep})
    else:
        click.echo(f"run {found.run_id} of {found.workflow} {found.version} is back for {span(keep)}: aiki run show {found.run_id}")


@command("show", history, connects=False)
@click.argument("file", type=click.Path(exists=True, path_type=Path), metavar="FILE|DIR")
@click.option("--run", "run_id", default=None, metavar="ID", help="Which run, where there are several.")
async def show(session: Session, file: Path, run_id: str | None) -> None:
    """Show a run out of a file, its status and its journal, without a server."""
    from aiki.actors.history import decode_segment
    from aiki.cli.journal import entry_document, entry_rows
    from aiki.cli.steps import status_lines
    from aiki.client.imports import read_history
    from aiki.client.views import run_view
    from aiki.journal import decode_entries

    found = _find(file, run_id)
    state = read_history(found)
    entries = [entry for segment in found.segments for entry in decode_entries(decode_segment(segment))] + decode_entries(state.entries)
    view = run_view(state, entries, 1)
    if session.as_json:
        emit({"run": view, "journal": [entry_document(entry) for entry in entries]})
        return
    out = console()
    for line in status_lines(view):
        out.print(line, markup=False, soft_wrap=True)
    out.print()
    table(("", "at (UTC)", "entry", "name", "worker", "what"), entry_rows(entries), empty="the journal is empty")


def _find(file: Path, run_id: str | None) -> "RunHistory":
    """The record of a run's last end. `RunNotFound` when there is none."""
    from aiki.archive import Archive
    from aiki.client import RunHistory
    from aiki.types.errors import RunNotFound

    records = list(Archive(file).records(run_id=run_id))
    if len({record.run_id for record in records}) > 1:
        raise click.UsageError(f"{file} holds several runs: say which with --run (`aiki archive list {file}` shows them)")
    if not records:
        which = "no run" if run_id is None else f"no run {run_id!r}"
        raise RunNotFound(f"there is {which} in {file}", run_id=run_id)
    last = max(records, key=lambda record: record.ended_at)
    return RunHistory(run_id=last.run_id, workflow=last.workflow, version=last.version, state=last.state, segments=last.segments)
