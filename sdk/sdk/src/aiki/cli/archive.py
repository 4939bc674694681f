"""`aiki archive`: keep the record of runs in files before they expire."""

import asyncio
import sys
from pathlib import Path

import click

from aiki.cli.logs import log_to_stderr, with_log_level
from aiki.cli.output import emit, table
from aiki.cli.session import Session, command
from aiki.cli.stopping import stop_signal
from aiki.types.errors import DefinitionError

__all__ = ["archive"]


@click.group()
def archive() -> None:
    """Keep the record of runs in files before they expire."""


@command("run", archive)
@click.option("--to", type=click.Path(path_type=Path), required=True, metavar="DIR|FILE.gz", help="Where the records go.")
@click.option("--once", is_flag=True, help="Archive what waits for it now, and end.")
@click.option(
    "--grace", type=click.FloatRange(0), default=10.0, show_default=True, help="Seconds to end what is under way, when told to stop."
)
@with_log_level
async def run(session: Session, to: Path, once: bool, grace: float, log_level: str) -> None:
    """Archive the region's runs that are to be archived as they end, until SIGTERM or Ctrl-C; each expires only after that.

    Run several if you like: they share the work, also with the same DIR.
    """
    from aiki.client import Archiver

    log_to_stderr(log_level)
    async with await session.connect() as client:
        archiver = Archiver(client, to)
        if once:
            try:
                archived = await archiver.once()
            except OSError as error:
                raise DefinitionError(f"{to} cannot be written: {error.strerror or error}", where="to") from error
            emit({"archived": archived, "to": str(to)}) if session.as_json else click.echo(f"{archived} runs archived to {to}")
            return
        with stop_signal() as stopped:
            await archiver.start()
            emit({"archiver": session.region, "to": str(to)}) if session.as_json else click.echo(
                f"archiver of region {session.region}, to {to}"
            )
            sys.stdout.flush()
            await stopped.wait()
            await archiver.stop(grace)


@command("list", archive, connects=False)
@click.argument("path", type=click.Path(exists=True, path_type=Path), metavar="DIR|FILE")
@click.option("--workflow", default=None, help="Only runs of this workflow.")
@click.option("--limit", type=click.IntRange(1), default=None, help="At most so many.")
async def list_archived(session: Session, path: Path, workflow: str | None, limit: int | None) -> None:
    """List the runs in an archive, a line for each end of a run, by workflow and day. Needs no server."""
    from itertools import islice

    from aiki.archive import Archive

    found = await asyncio.to_thread(lambda: list(islice(Archive(path).records(workflow=workflow), limit)))
    if session.as_json:
        emit(
            [
                {
                    "run": each.run_id,
                    "workflow": each.workflow,
                    "version": each.version,
                    "region": each.region,
                    "state": each.outcome,
                    "key": each.key,
                    "created_at": _instant(each.created_at),
                    "ended_at": _instant(each.ended_at),
                    "archived_at": _instant(each.archived_at) if each.archived_at else None,
                }
                for each in found
            ]
        )
    else:
        rows = [(each.run_id, f"{each.workflow} {each.version}", each.outcome, _text(each.ended_at), each.key or "") for each in found]
        table(("run", "workflow", "state", "ended (UTC)", "key"), rows, empty="no runs")


def _instant(seconds: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _text(seconds: float) -> str:
    from datetime import UTC, datetime

    from aiki.cli.output import instant

    return instant(datetime.fromtimestamp(seconds, UTC))
