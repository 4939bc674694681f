"""Which runs a command means: one, by id or by its idempotency key, or many, by ids or by a filter."""

import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from aiki.cli.output import emit, table
from aiki.cli.session import Session
from aiki.types.errors import AikiError, RunError
from aiki.types.states import STATES

if TYPE_CHECKING:
    from aiki.client import Client, Report, RunHandle

__all__ = ["aim_at_many", "aim_at_one", "find", "find_id", "tell"]

Made = TypeVar("Made", bound=Callable[..., Any])

Tell = Callable[["Client", dict[str, Any]], Awaitable["Report"]]

FEW = 20
"""Reports of that many runs or fewer show those that went well, too."""


def aim_at_one(function: Made) -> Made:
    """Options that name a run: its id, or `--key K --workflow W`."""
    options = (
        click.option("--id", "run_id", default=None, help="The run's id."),
        click.option("--key", default=None, help="Instead of the id: the idempotency key of the run, with --workflow."),
        click.option("--workflow", default=None, help="The workflow of --key."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def aim_at_many(function: Made) -> Made:
    """Options that name one run or many: ids, `--key`, or a filter with `--all`."""
    options = (
        click.option("--id", "ids", multiple=True, help="A run's id; may be given several times."),
        click.option("--key", default=None, help="Instead of an id: the idempotency key of the run, with --workflow."),
        click.option("--workflow", default=None, help="The workflow of --key, or with --all: of the runs that are meant."),
        click.option(
            "--state", type=click.Choice(STATES), metavar="STATE", default=None, help="With --all: the state of the runs that are meant."
        ),
        click.option("--all", "everyone", is_flag=True, help="All runs that --workflow and --state find, of those that have not ended."),
        click.option("--yes", is_flag=True, help="Do not ask whether --all is meant."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def find_id(run_id: str | None, key: str | None, workflow: str | None) -> str:
    """The id that the options of one run mean."""
    from aiki.types.identifiers import keyed_run_id
    from aiki.types.names import check_key

    if (run_id is None) == (key is None) or (key is not None) != (workflow is not None):
        raise click.UsageError("name the run: its ID, or --key KEY with --workflow WORKFLOW")
    return run_id if run_id is not None else keyed_run_id(workflow or "", check_key(key))


async def find(client: "Client", run_id: str | None, key: str | None, workflow: str | None) -> "RunHandle[Any]":
    """A handle of that run."""
    return await client.handle(find_id(run_id, key, workflow))


async def tell(
    session: Session,
    verb: str,
    say: Tell,
    *,
    ids: Sequence[str],
    key: str | None,
    workflow: str | None,
    state: str | None,
    everyone: bool,
    yes: bool,
) -> None:
    """Say something to one run, or to many with a report per run. The exit status is 1 when it failed for any."""
    if not everyone:
        if state is not None:
            raise click.UsageError("--state goes with --all")
        chosen = list(ids) if key is None and workflow is None and ids else [find_id(ids[0] if ids else None, key, workflow)]
        async with await session.connect() as client:
            report = await say(client, {"ids": chosen})
        if len(chosen) == 1 and isinstance(error := report[next(iter(report))], AikiError):
            raise error
    else:
        if ids or key is not None:
            raise click.UsageError("--all goes with --workflow and --state, not with ids or --key")
        if workflow is None and state is None:
            raise click.UsageError("--all needs --workflow, --state, or both")
        which = " ".join(part for part in (state or "unfinished", "runs", f"of workflow {workflow}" if workflow else "") if part)
        if not yes:
            click.confirm(f"{verb} all {which} in region {session.region}?", abort=True, err=True)
        async with await session.connect() as client:
            report = await say(client, {"workflow": workflow, "state": state, "progress": _progress(session)})
    _show(session, report)


def _progress(session: Session) -> Callable[[int], None] | None:
    def show(count: int) -> None:
        if count % 1000 == 0:
            click.echo(f"{count:,} runs so far", err=True)

    return None if session.as_json else show


def _show(session: Session, report: "Report") -> None:
    failed = {run_id: outcome for run_id, outcome in report.items() if isinstance(outcome, AikiError)}
    if session.as_json:
        emit([_document(run_id, outcome) for run_id, outcome in report.items()])
    else:
        shown = report if len(report) <= FEW else failed
        rows = [(run_id, str(outcome) if isinstance(outcome, str) else f"{outcome.code}: {outcome}") for run_id, outcome in shown.items()]
        table(("run", ""), rows, empty="no runs were found" if not report else "")
        if len(report) > 1:
            click.echo(f"{len(report) - len(failed):,} of {len(report):,} runs")
    if failed:
        sys.exit(1)


def _document(run_id: str, outcome: "str | AikiError") -> dict[str, Any]:
    if isinstance(outcome, str):
        return {"id": run_id, "done": outcome}
    return {"id": run_id, "done": None, "error": {"code": outcome.code, "message": outcome.message}}
