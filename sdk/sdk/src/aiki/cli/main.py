"""The `aiki` command."""

import click

from aiki.cli.actor import actor
from aiki.cli.advise import advise
from aiki.cli.archive import archive
from aiki.cli.blob import blob
from aiki.cli.cache import cache
from aiki.cli.codec import codec
from aiki.cli.dev import dev
from aiki.cli.dlq import dlq
from aiki.cli.doctor import doctor
from aiki.cli.explain import explain
from aiki.cli.history import history
from aiki.cli.init import init
from aiki.cli.limit import limit
from aiki.cli.lint import lint
from aiki.cli.message import run
from aiki.cli.queue import queue
from aiki.cli.replay import replay
from aiki.cli.schedule import schedule
from aiki.cli.timer import timer
from aiki.cli.worker import worker
from aiki.cli.workflow import workflow

__all__ = ["cli", "main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="aiki-sdk", prog_name="aiki")
def cli() -> None:
    """Durable workflows on NATS JetStream."""


for _command in (
    dev,
    worker,
    timer,
    run,
    actor,
    queue,
    limit,
    cache,
    blob,
    advise,
    dlq,
    workflow,
    schedule,
    archive,
    history,
    replay,
    lint,
    codec,
    init,
    doctor,
    explain,
):
    cli.add_command(_command)


def main() -> None:
    """Run the command line."""
    cli(prog_name="aiki")
