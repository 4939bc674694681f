"""Which runs a command means: one, by id or by its idempotency key, or many, by ids or by a filter."""

import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from aiki.cli.output import emit, table
from aiki.cli.session import Session
from aiki.types.errors import AikiError
from aiki.types.states import STATES

if TYPE_CHECKING:
    from aiki.client import Client, Report

__all__ = ["Aim", "aim_at_many", "aim_at_one", "find_id", "split_words"]

Made = TypeVar("Made", bound=Callable[..., Any])

Tell = Callable[["Client", dict[str, Any]], Awaitable["Report"]]

FEW = 20
"""Reports of that many runs or fewer show those that went well, too."""


KEY = click.option("--key", default=None, help="Instead of an id: the run's idempotency key, with --workflow.")


def aim_at_one(function: Made) -> Made:
    """Options that name a run otherwise than by its id."""
    return KEY(click.option("--workflow", default=None, help="The workflow of --key.")(function))


def aim_at_many(function: Made) -> Made:
    """The same, and options that name many by a filter."""
    options = (
        KEY,
        click.option("--workflow", default=None, help="The workflow of --key; with --all, of the runs that are meant."),
        click.option("--state", type=click.Choice(STATES), metavar="STATE", default=None, help="With --all: the state of those runs."),
        click.option("--all", "everyone", is_flag=True, help="All runs of --workflow or in --state (default: that have not ended)."),
        click.option("--yes", is_flag=True, help="Do not ask whether --all is meant."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def split_words(words: tuple[str, ...], given: bool, least: int, most: int, usage: str) -> tuple[str | None, list[str]]:
    """The run's id, unless that is `given` by options, and what comes after it."""
    first = 0 if given else 1
    if not first + least <= len(words) <= first + most:
        raise click.UsageError(f"it takes {usage}, or the same without ID and with --key KEY --workflow WORKFLOW")
    return (None if given else words[0]), list(words[first:])


def find_id(run_id: str | None, key: str | None, workflow: str | None) -> str:
    """The id that the options of one run mean."""
    from aiki.types.identifiers import keyed_run_id
    from aiki.types.names import check_key

    if (run_id is None) == (key is None) or (key is not None) != (workflow is not None):
        raise click.UsageError("name the run: its ID, or --key KEY with --workflow WORKFLOW")
    return run_id if run_id is not None else keyed_run_id(workflow or "", check_key(key))


class Aim:
    """The runs that the options of a command mean."""

    def __init__(
        self,
        ids: Sequence[str],
        *,
        key: str | None = None,
        workflow: str | None = None,
        state: str | None = None,
        everyone: bool = False,
        yes: bool = False,
    ) -> None:
        self._ids: list[str] = []
        self._workflow = workflow
        self._state = state
        self._everyone = everyone
        self._yes = yes
        if everyone:
            if ids or key is not None:
                raise click.UsageError("--all goes with --workflow and --state, not with an ID or --key")
            if workflow is None and state is None:
                raise click.UsageError("--all needs --workflow, --state, or both")
        elif state is not None:
            raise click.UsageError("--state goes with --all")
        elif ids and key is None and workflow is None:
            self._ids = list(ids)
        else:
            self._ids = [find_id(ids[0] if ids else None, key, workflow)]

    async def tell(self, session: Session, verb: str, say: Tell) -> None:
        """Say something to these runs, and report. The exit status is 1 when it failed for any."""
        which: dict[str, Any] = {"ids": self._ids}
        if self._everyone:
            parts = (self._state or "unfinished", "runs", f"of workflow {self._workflow}" if self._workflow is not None else "")
            if not self._yes:
                question = " ".join(part for part in parts if part)
                click.confirm(f"{verb} all {question} in region {session.region}?", abort=True, err=True)
            which = {"workflow": self._workflow, "state": self._state, "progress": _progress(session)}
        async with await session.connect() as client:
            report = await say(client, which)
        outcomes = list(report.values())
        if len(self._ids) == 1 and isinstance(error := outcomes[0], AikiError):
            raise error
        _show(session, report, alone=len(self._ids) == 1)
        if any(isinstance(outcome, AikiError) for outcome in outcomes):
            sys.exit(1)


def _progress(session: Session) -> Callable[[int], None] | None:
    def show(count: int) -> None:
        if count % 1000 == 0:
            click.echo(f"{count:,} runs so far", err=True)

    return None if session.as_json else show


def _show(session: Session, report: "Report", *, alone: bool) -> None:
    failed = {run_id: outcome for run_id, outcome in report.items() if isinstance(outcome, AikiError)}
    if session.as_json:
        documents = [_document(run_id, outcome) for run_id, outcome in report.items()]
        emit(documents[0] if alone else documents)
    else:
        shown = report if len(report) <= FEW else failed
        rows = [(run_id, str(outcome) if isinstance(outcome, str) else f"{outcome.code}: {outcome}") for run_id, outcome in shown.items()]
        if rows or not report:
            table(("run", ""), rows, empty="no such runs were found")
        if not alone and report:
            click.echo(f"{len(report) - len(failed):,} of {len(report):,} runs")


def _document(run_id: str, outcome: "str | AikiError") -> dict[str, Any]:
    if isinstance(outcome, str):
        return {"id": run_id, "done": outcome}
    return {"id": run_id, "done": None, "error": {"code": outcome.code, "message": outcome.message}}
