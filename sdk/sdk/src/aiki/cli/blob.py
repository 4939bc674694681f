"""`aiki blob`: large payloads, which lie apart from the runs that refer to them."""

from datetime import timedelta

import click

from aiki.cli.output import emit, instant, table
from aiki.cli.session import Session, command

__all__ = ["blob"]


@click.group()
def blob() -> None:
    """See large payloads, and collect those that no run refers to."""


@command("list", blob)
async def list_blobs(session: Session) -> None:
    """List the large payloads of the region."""
    async with await session.connect() as client:
        found = await client.list_blobs()
    if session.as_json:
        emit(found)
        return
    rows = [(each.id, f"{each.size:,}", instant(each.used_at), " ".join(each.runs)) for each in found]
    table(("id", "bytes", "used (UTC)", "runs"), rows, empty="no large payloads")


@command("collect", blob)
@click.option("--older-than", type=float, default=24.0, show_default=True, metavar="HOURS", help="Unused for so long; 12 at least.")
async def collect(session: Session, older_than: float) -> None:
    """Delete the large payloads that no run refers to any more; `aiki timer` does so every hour."""
    async with await session.connect() as client:
        found = await client.collect_blobs(older_than=timedelta(hours=older_than))
    if session.as_json:
        emit(found)
    else:
        click.echo(f"{found.blobs} collected, {found.bytes:,} bytes; {found.marks} marks and {found.uploads} unfinished uploads deleted")
