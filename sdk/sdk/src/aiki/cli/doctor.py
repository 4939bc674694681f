"""`aiki doctor`: is this NATS fit for Aiki, and what should be known about it?"""

import sys

import click

from aiki.cli.output import emit, table
from aiki.cli.session import Session, command

__all__ = ["doctor"]


@command("doctor")
async def doctor(session: Session) -> None:
    """Check the server, the region's streams, durability, clocks and limits.

    The exit status is 1 when something fails; warnings do not change it.
    """
    from aiki.cli.checkup import check_all

    async with await session.connect() as client:
        findings = await check_all(client)
    if session.as_json:
        emit([finding._asdict() for finding in findings])
    else:
        table(("", "check", "finding"), [tuple(finding) for finding in findings], empty="")
    failed = [finding for finding in findings if finding.level == "FAIL"]
    if failed:
        if not session.as_json:
            click.echo(f"aiki: {len(failed)} of {len(findings)} checks failed", err=True)
        sys.exit(1)
