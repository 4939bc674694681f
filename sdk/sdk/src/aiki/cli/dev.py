"""`aiki dev`: everything in one process, for development."""

import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from aiki.cli.logs import log_to_stderr, with_log_level
from aiki.cli.output import emit
from aiki.cli.session import Session, command
from aiki.cli.stopping import stop_signal
from aiki.types.errors import NotConnected

if TYPE_CHECKING:
    from aiki.worker import Registry

__all__ = ["dev"]

DEFAULT_PORT = 4222


@command("dev", connects=False)
@click.argument("modules", nargs=-1, metavar="[MODULE[:REGISTRY]]...")
@click.option(
    "--store", type=click.Path(file_okay=False, path_type=Path), default=None, help="Keep the data here, not in a temporary folder."
)
@click.option("--port", type=click.IntRange(0, 65535), default=DEFAULT_PORT, show_default=True, help="The NATS server's; 0: a free one.")
@with_log_level
async def dev(session: Session, modules: tuple[str, ...], store: Path | None, port: int, log_level: str) -> None:
    """Start NATS with its streams, a timer service and a worker for MODULE, in one process, until Ctrl-C. Without a MODULE: no worker."""
    from aiki import actors
    from aiki.cli.target import collect
    from aiki.client import Client
    from aiki.services.timer import TimerService
    from aiki.transport.embedded import EmbeddedNats
    from aiki.worker import Registry, Worker

    registry = Registry()
    collect(modules, registry)
    log_to_stderr(log_level)
    _check_free(port)
    with stop_signal() as stopped:
        async with (
            EmbeddedNats(store=store, port=port) as server,
            await Client.connect(server.url, region=session.region, codec=session.codec()) as client,
        ):
            await actors.init(client.transport, region=session.region)
            worker = Worker(client)
            worker.registry = registry
            async with TimerService(client):
                if modules:
                    await worker.start()
                _announce(session, server.url, store, registry)
                await stopped.wait()
                if not session.as_json:
                    click.echo("stopping", err=True)
                await worker.stop()


def _check_free(port: int) -> None:
    if port == 0:
        return
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            url = f"nats://127.0.0.1:{port}"
            raise NotConnected(
                f"port {port} is taken ({error.strerror}), perhaps by another `aiki dev` or NATS server: choose one with --port",
                url=url,
            ) from error


def _announce(session: Session, url: str, store: Path | None, registry: "Registry") -> None:
    workflows = sorted(registry.workflows)
    if session.as_json:
        served = [{"name": name, "version": version} for name, version in workflows]
        kept = None if store is None else str(store.resolve())
        emit({"url": url, "region": session.region, "store": kept, "workflows": served, "tasks": sorted(registry.tasks)})
        return
    click.echo(f"NATS at {url}; data in {store if store is not None else 'a temporary folder, gone when this ends'}")
    if workflows or registry.tasks:
        names = ", ".join(f"{name} {version}" for name, version in workflows)
        click.echo(f"serving workflows: {names or 'none'}; tasks: {', '.join(sorted(registry.tasks)) or 'none'}")
    where = "" if url.endswith(f":{DEFAULT_PORT}") else f" --url {url}"
    where += "" if session.region == "default" else f" --region {session.region}"
    click.echo("\nIn another terminal:")
    for name, _ in workflows[:1]:
        click.echo(f"  aiki run start{where} {name} '{{…}}' --wait")
    if not workflows:
        click.echo(f"  aiki worker{where} your.module")
    click.echo(f"  aiki run list{where}\n  aiki run show{where} ID\n  aiki run watch{where} ID\n\nCtrl-C stops.")
    sys.stdout.flush()
