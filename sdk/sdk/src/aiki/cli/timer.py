"""`aiki timer`: fire schedules."""

import sys

import click

from aiki.cli.logs import log_to_stderr, with_log_level
from aiki.cli.output import emit
from aiki.cli.session import Session, command
from aiki.cli.stopping import stop_signal

__all__ = ["timer"]


@command("timer")
@click.option(
    "--grace", type=click.FloatRange(0), default=10.0, show_default=True, help="Seconds to end what is under way, when told to stop."
)
@with_log_level
async def timer(session: Session, grace: float, log_level: str) -> None:
    """Fire the region's schedules, until SIGTERM or Ctrl-C. Run several: they share the work, and none fires what another has fired."""
    from aiki.services.timer import TimerService

    log_to_stderr(log_level)
    with stop_signal() as stopped:
        async with await session.connect() as client:
            service = TimerService(client)
            await service.start()
            if session.as_json:
                emit({"timer": session.region})
            else:
                click.echo(f"timer service of region {session.region}")
            sys.stdout.flush()
            await stopped.wait()
            await service.stop(grace)
