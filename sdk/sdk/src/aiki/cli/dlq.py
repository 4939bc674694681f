"""`aiki dlq`: what was given up, to look at, to try again, or to let go."""

import sys

import click

from aiki.cli.output import console, emit, grid, instant, table
from aiki.cli.session import Session, command
from aiki.client import DeadLetterView
from aiki.types.errors import AikiError, DefinitionError

__all__ = ["dlq"]


@click.group()
def dlq() -> None:
    """The dead-letter list: tasks and runs that have killed their workers, and messages that cannot be read."""


def _filters(function: click.decorators.FC) -> click.decorators.FC:
    options = (
        click.option("--kind", type=click.Choice(["task", "run", "message"]), default=None, help="Only these."),
        click.option("--workflow", default=None, help="Only those of its runs."),
        click.option("--run", "run_id", default=None, help="Only those of this run."),
    )
    for option in reversed(options):
        function = option(function)
    return function


@command("list", dlq)
@_filters
async def list_letters(session: Session, kind: str | None, workflow: str | None, run_id: str | None) -> None:
    """List what was given up, and why."""
    async with await session.connect() as client:
        letters = [each async for each in client.dead_letters(kind=kind, workflow=workflow, run_id=run_id)]
    if session.as_json:
        emit(letters)
        return
    rows = [(each.id, each.kind, each.task or each.workflow or each.subject, instant(each.last_at), each.reason) for each in letters]
    table(("id", "kind", "of", "given up (UTC)", "why"), rows, empty="no dead letters")


@command("show", dlq)
@click.argument("letter_id", metavar="ID")
async def show(session: Session, letter_id: str) -> None:
    """Show one letter, and the messages that wait with it."""
    async with await session.connect() as client:
        letters = client.dead_letters()
        letter = await letters.get(letter_id)
        messages = await letters.messages(letter_id)
    if session.as_json:
        emit({"letter": letter, "messages": [{"subject": subject, "data": data} for subject, data in messages]})
        return
    facts = [
        ("id", letter.id),
        ("kind", letter.kind),
        ("why", f"{letter.code}: {letter.reason}"),
        ("run", " ".join(part for part in (letter.run_id, letter.workflow, letter.version) if part)),
        ("task", letter.task),
        ("deliveries", str(letter.deliveries)),
        ("workers", ", ".join(letter.workers)),
        ("first, last (UTC)", f"{instant(letter.first_at)}, {instant(letter.last_at)}"),
        ("came from", letter.subject),
        ("messages", f"{len(messages)} kept"),
    ]
    console().print(grid(("", ""), [fact for fact in facts if fact[1]]))


@command("retry", dlq)
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All that the filters leave, instead of IDs.")
@_filters
async def retry(
    session: Session, ids: tuple[str, ...], everything: bool, kind: str | None, workflow: str | None, run_id: str | None
) -> None:
    """Try again, from where it stood: a task is sent once more, a run goes on with all that has come meanwhile."""
    await _each(session, "retried", ids, everything, kind, workflow, run_id)


@command("drop", dlq)
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All that the filters leave, instead of IDs.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_filters
async def drop(
    session: Session, ids: tuple[str, ...], everything: bool, yes: bool, kind: str | None, workflow: str | None, run_id: str | None
) -> None:
    """Let it go: the step of a task fails, a run is terminated, a message is forgotten."""
    if everything and not yes:
        click.confirm("Drop all of them?", abort=True)
    await _each(session, "dropped", ids, everything, kind, workflow, run_id)


async def _each(
    session: Session, done: str, ids: tuple[str, ...], everything: bool, kind: str | None, workflow: str | None, run_id: str | None
) -> None:
    if bool(ids) == everything:
        raise DefinitionError("name letters by their ids, or all of them with --all", what="ids")
    report: list[dict[str, object]] = []
    async with await session.connect() as client:
        letters = client.dead_letters(kind=kind, workflow=workflow, run_id=run_id)
        found: list[DeadLetterView] = [each async for each in letters] if everything else []
        for letter_id in ids or [each.id for each in found]:
            try:
                await (letters.retry(letter_id) if done == "retried" else letters.drop(letter_id))
                report.append({"id": letter_id, "done": done})
            except AikiError as error:
                report.append({"id": letter_id, "error": {"code": error.code, "message": str(error)}})
    if session.as_json:
        emit(report)
    for line in () if session.as_json else report:
        failure = line.get("error")
        click.echo(f"{line['id']}: {done}" if not isinstance(failure, dict) else f"{line['id']}: {failure['code']}: {failure['message']}")
    if not report and not session.as_json:
        click.echo("no dead letters")
    if any("error" in line for line in report):
        sys.exit(1)
