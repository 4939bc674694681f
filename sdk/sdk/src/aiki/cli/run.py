"""`aiki run`: start runs, list them, look at them. What one can say to them stands in `message`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from aiki.cli.aim import aim_at_one, find_id
from aiki.cli.output import age, console, emit, instant, short, span, table
from aiki.cli.session import Session, command
from aiki.types.errors import DefinitionError
from aiki.types.states import STATES

if TYPE_CHECKING:
    from aiki.client import OnConflict, RunView

__all__ = ["run"]


@click.group()
def run() -> None:
    """Start runs, list them, look at them."""


@command("start", run)
@click.argument("workflow")
@click.argument("payload", default="null", metavar="[JSON|-|@FILE]")
@click.option("--key", default=None, help="Idempotency key: the same key finds the same run.")
@click.option("--version", default=None, help="The workflow's version (default: the newest that a live worker serves).")
@click.option("--wait", is_flag=True, help="Wait for the end and print the result.")
@click.option(
    "--on-conflict",
    type=click.Choice(["error", "return_existing"]),
    default="error",
    show_default=True,
    help="When the key was used with another payload.",
)
@click.option("--at", default=None, metavar="INSTANT", help="Begin at this instant, for example 2030-01-31T09:00:00+01:00.")
@click.option("--after", type=float, default=None, metavar="SECONDS", help="Begin after so many seconds.")
@click.option("--priority", type=click.IntRange(0, 9), default=0, help="Among the starts that wait at the workflow's limit: 9 is first.")
async def start(
    session: Session,
    workflow: str,
    payload: str,
    key: str | None,
    version: str | None,
    wait: bool,
    on_conflict: "OnConflict",
    at: str | None,
    after: float | None,
    priority: int,
) -> None:
    """Start a run of WORKFLOW with a JSON payload, given as such, by `-` (standard input) or by @FILE. Prints the run's id.

    When the command has returned, the run happens, whatever dies after that.
    """
    from aiki.cli.payload import read_payload
    from aiki.cli.trigger import read_trigger
    from aiki.schema import schema_for

    data = read_payload(payload)
    async with await session.connect() as client:
        chosen = version if version is not None else (await client.find_workflow(workflow))[1]
        output = schema_for(Any, "result")
        when = read_trigger(at, after)
        handle = await client.start_run(
            workflow, chosen, data, output, idempotency_key=key, on_conflict=on_conflict, trigger=when, priority=priority
        )
        started = {"id": handle.id, "workflow": workflow, "version": chosen}
        if not wait:
            emit(started) if session.as_json else click.echo(handle.id)
            return
        if not session.as_json:
            click.echo(f"run {handle.id} of {workflow} {chosen}", err=True)
        result = await handle.wait_for_completion()
    emit({**started, "state": "completed", "output": result} if session.as_json else result)


@command("list", run)
@click.option("--workflow", default=None, help="Only runs of this workflow.")
@click.option("--state", type=click.Choice(STATES), metavar="STATE", default=None, help=f"Only runs in this state: {', '.join(STATES)}.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="At most so many.")
async def list_runs(session: Session, workflow: str | None, state: str | None, limit: int) -> None:
    """List runs, the newest first; queued ones too. With a --limit, runs with an idempotency key are not chosen by their age."""
    async with await session.connect() as client:
        runs = [each async for each in client.runs(workflow=workflow, state=state, limit=limit)]
    runs.sort(key=lambda each: each.created_at, reverse=True)
    if session.as_json:
        emit(runs)
        return
    rows = [
        (
            each.id,
            f"{each.workflow} {each.version}",
            each.state,
            instant(each.created_at),
            span((each.finished_at - each.started_at).total_seconds()) if each.finished_at and each.started_at else age(each.created_at),
            short(str(each.error), 60) if each.error is not None else ", ".join(each.waiting_on[:2]),
        )
        for each in runs
    ]
    table(("run", "workflow", "state", "created (UTC)", "took", ""), rows, empty="no runs")


@command("show", run)
@click.argument("run_id", metavar="[ID]", required=False)
@aim_at_one
@click.option("--tree", is_flag=True, help="Its sub-workflows, too, and theirs.")
@click.option(
    "--graph", type=click.Choice(["text", "mermaid"]), default=None, help="Instead, the states of a graph's nodes. Needs --module."
)
@click.option("--module", default=None, metavar="MODULE[:REGISTRY]", help="Where the graph is defined; for --graph.")
async def show(
    session: Session,
    run_id: str | None,
    key: str | None,
    workflow: str | None,
    tree: bool,
    graph: Literal["text", "mermaid"] | None,
    module: str | None,
) -> None:
    """Show a run: its status, what it waits for, its steps, the messages that were applied to it, and its timeline."""
    from aiki.cli.steps import messages_table, status_lines, steps_table, tree_lines, waits_table
    from aiki.cli.timeline import timeline

    if (graph is None) != (module is None):
        raise click.UsageError("--graph and --module go together: a run's journal does not hold the definition of its graph")
    async with await session.connect() as client:
        view = await (await client.handle(find_id(run_id, key, workflow))).describe(tree=tree)
    if graph is not None and module is not None:
        _show_graph(session, view, graph, module)
        return
    if session.as_json:
        emit(view)
        return
    out = console()
    for line in status_lines(view):
        out.print(line, markup=False, soft_wrap=True)
    for line in tree_lines(view):
        out.print(line, markup=False, soft_wrap=True)
    for part in (waits_table(view) if view.waits else None, messages_table(view) if view.messages else None):
        if part is not None:
            out.print()
            out.print(part)
    if view.steps:
        out.print()
        out.print(steps_table(view))
        out.print()
        out.print(timeline(view, out.width))


def _show_graph(session: Session, view: "RunView", format: Literal["text", "mermaid"], module: str) -> None:
    from aiki.cli.target import collect
    from aiki.graph import Graph, progress_of, render_run
    from aiki.worker import Registry

    registry = Registry()
    collect((module,), registry)
    name, version = view.status.workflow, view.status.version
    found = registry.workflows.get((name, version))
    if not isinstance(found, Graph):
        raise DefinitionError(f"{module!r} has no graph {name!r} of version {version!r}, which is what the run is one of", where="module")
    if session.as_json:
        emit(progress_of(found, view))
    else:
        click.echo(render_run(found, view, format), nl=False)


@command("watch", run)
@click.argument("run_id", metavar="[ID]", required=False)
@aim_at_one
async def watch(session: Session, run_id: str | None, key: str | None, workflow: str | None) -> None:
    """Follow a run until it ends. The exit status is 0 when it completed, else 1. With --json: a line per change, with the whole run."""
    from contextlib import aclosing

    from aiki.cli.watch import watcher

    state = "unknown"
    async with await session.connect() as client:
        handle = await client.handle(find_id(run_id, key, workflow))
        with watcher(session.as_json) as shown:
            async with aclosing(handle.changes()) as changes:
                async for view in changes:
                    shown(view)
                    state = view.status.state
    if state != "completed":
        sys.exit(1)


@command("wake", run)
@click.argument("run_id", metavar="[ID]", required=False)
@aim_at_one
async def wake(session: Session, run_id: str | None, key: str | None, workflow: str | None) -> None:
    """End the sleep of the run that would end first, now."""
    chosen = find_id(run_id, key, workflow)
    async with await session.connect() as client:
        await (await client.handle(chosen)).wake()
    emit({"id": chosen, "woken": True}) if session.as_json else click.echo(f"run {chosen} was sent the message")


@command("history", run)
@click.argument("run_id", metavar="[ID]", required=False)
@aim_at_one
@click.option("--export", type=click.Path(dir_okay=False, path_type=Path), default=None, help="Write all that `aiki replay` needs to FILE.")
async def history(session: Session, run_id: str | None, key: str | None, workflow: str | None, export: Path | None) -> None:
    """Print a run's journal: what replay works from, entry by entry."""
    from aiki.cli.journal import entry_document, entry_rows
    from aiki.client.handle import readable

    chosen = find_id(run_id, key, workflow)
    async with await session.connect() as client:
        if export is not None:
            _write(export, (await (await client.handle(chosen)).history()).to_json())
            emit({"run": chosen, "file": str(export)}) if session.as_json else click.echo(f"{export}: the history of run {chosen}")
            return
        found = await client.recorded(chosen)
        if found is None:
            await (await client.handle(chosen)).get_status()  # queued, or RunNotFound
        entries = [] if found is None else found.journal
        if found is not None:
            readable(found.state)
    if session.as_json:
        emit([entry_document(entry) for entry in entries])
    else:
        rows = entry_rows(entries)
        table(("", "at (UTC)", "entry", "name", "worker", "what"), rows, empty="the journal is empty: no step has an outcome yet")


def _write(file: Path, document: bytes) -> None:
    try:
        file.write_bytes(document)
    except OSError as error:
        raise DefinitionError(f"{file} cannot be written: {error.strerror}", where="export") from error
