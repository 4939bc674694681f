"""`aiki init`: create a region's streams and buckets."""

import click

from aiki.cli.output import emit, table
from aiki.cli.session import Session, command

__all__ = ["init"]


@command("init")
@click.option("--replicas", type=click.IntRange(1, 5), help="Copies of each stream in a cluster  [default: as it is; of a new region 1]")
@click.option("--update", "--force-update", is_flag=True, help="Bring streams that have other settings to ours.")
async def init(session: Session, replicas: int | None, update: bool) -> None:
    """Create the streams and buckets that a region needs. Those that exist already with the right settings are left alone."""
    from aiki import actors

    async with await session.connect() as client:
        done = await actors.init(client.transport, region=session.region, replicas=replicas, update=update)
    if session.as_json:
        emit({"region": session.region, "streams": done})
    else:
        table(("stream", ""), list(done.items()), empty="")
