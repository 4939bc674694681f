"""`aiki worker`: serve workflows and tasks, and see who does."""

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from aiki.cli.logs import log_to_stderr, with_log_level
from aiki.cli.output import age, emit, table
from aiki.cli.session import Session, command
from aiki.cli.stopping import stop_signal

if TYPE_CHECKING:
    from aiki.actors.roster import WorkerInfo

__all__ = ["worker", "worker_document"]

SERVE = "serve"


class _ServeByDefault(click.Group):
    """`aiki worker MODULE` is `aiki worker serve MODULE`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = [SERVE, *args]
        return super().parse_args(ctx, args)


@click.group(cls=_ServeByDefault, subcommand_metavar="[serve] MODULE[:REGISTRY]... | list | show ID")
def worker() -> None:
    """Serve workflows and tasks (`aiki worker MODULE`), or list who does (`aiki worker list`)."""


@command(SERVE, worker)
@click.argument("modules", nargs=-1, required=True, metavar="MODULE[:REGISTRY]...")
@click.option("--queue", default="default", show_default=True, help="Whose tasks to take.")
@click.option("--id", "worker_id", default=None, help="A name for this worker (default: host, process id, chance).")
@click.option("--max-runs", type=click.IntRange(1), default=100, show_default=True, help="Turns of runs that go on at a time.")
@click.option("--max-tasks", type=click.IntRange(1), default=100, show_default=True, help="Task bodies that run at a time.")
@click.option(
    "--retention", type=click.FloatRange(1), default=None, help="Seconds that runs are kept if their workflow is silent (7 days)."
)
@click.option("--archive", is_flag=True, help="Runs expire only when archived, if their workflow is silent: `aiki archive run`.")
@click.option("--grace", type=click.FloatRange(0), default=10.0, show_default=True, help="Seconds to end what runs, when told to stop.")
@with_log_level
async def serve(
    session: Session,
    modules: tuple[str, ...],
    queue: str,
    worker_id: str | None,
    max_runs: int,
    max_tasks: int,
    retention: float | None,
    archive: bool,
    grace: float,
    log_level: str,
) -> None:
    """Serve the workflows, tasks and actors of MODULE (a dotted name or a .py file), until SIGTERM or Ctrl-C.

    All of them among the module's globals are registered, or those of one REGISTRY in it. Stopping is graceful: nothing new
    is taken, what runs gets its grace, the rest goes to other workers. A second signal ends the process at once.
    """
    from aiki.cli.target import collect
    from aiki.worker import Registry, Worker

    registry = Registry()
    collect(modules, registry)
    log_to_stderr(log_level)
    with stop_signal() as stopped:
        async with await session.connect() as client:
            it = Worker(
                client,
                id=worker_id,
                queue=queue,
                max_concurrent_workflow_runs=max_runs,
                max_concurrent_tasks=max_tasks,
                retention="worker" if retention is None else retention,
                archive=archive,
            )
            it.registry = registry
            await it.start()
            served = {"worker": it.id, "queue": queue, "workflows": sorted(map(list, registry.workflows)), "tasks": sorted(registry.tasks)}
            served["actors"] = sorted(registry.actors)
            if session.as_json:
                emit(served)
            else:
                names = [f"{name} {version}" for name, version in sorted(registry.workflows)]
                kinds = {"workflows": names, "tasks": sorted(registry.tasks), "actors": sorted(registry.actors)}
                text = "; ".join(f"{kind}: {', '.join(found) or 'none'}" for kind, found in kinds.items())
                click.echo(f"worker {it.id} serves {text}")
            sys.stdout.flush()
            await stopped.wait()
            if not session.as_json:
                click.echo(f"worker {it.id} stops: what runs has {grace:g} s to end", err=True)
            await it.stop(grace)


@command("list", worker)
async def list_workers(session: Session) -> None:
    """List the workers that have reported within the last 30 seconds."""
    async with await session.connect() as client:
        workers = await client.workers()
    if session.as_json:
        emit([worker_document(each) for each in workers])
        return
    rows = [
        (
            each.id,
            each.queue,
            ", ".join(f"{name} {version}" for name, version in each.workflows),
            ", ".join(each.tasks),
            ", ".join(each.actors),
            _load(each),
            age(datetime.fromtimestamp(each.started_at, UTC)),
            age(datetime.fromtimestamp(each.reported_at, UTC)),
            each.aiki,
        )
        for each in workers
    ]
    table(("worker", "queue", "workflows", "tasks", "actors", "load", "up for", "heard", "aiki"), rows, empty="no worker has reported")


@command("show", worker)
@click.argument("id")
async def show(session: Session, id: str) -> None:
    """Show all that a worker has reported: what it serves, what it has on its hands, its versions."""
    from aiki.types.errors import DefinitionError

    async with await session.connect() as client:
        found = [each for each in await client.workers() if each.id == id]
    if not found:
        raise DefinitionError(f"no worker {id!r} has reported within the last 30 seconds", what="worker")
    document = worker_document(found[0])
    if session.as_json:
        emit(document)
        return
    each, load = found[0], found[0].load
    lines = [
        ("worker", each.id),
        ("on", f"{each.host}, aiki {each.aiki or '?'}, Python {each.python}"),
        ("up for", age(document["started_at"])),
        ("heard", f"{age(document['reported_at'])} ago"),
        ("workflows", ", ".join(f"{name} {version}" for name, version in each.workflows) or "none"),
        ("tasks", ", ".join(f"{name} ({queue})" for queue, name in each.serves) or "none"),
        ("actors", ", ".join(each.actors) or "none"),
        ("events", "; ".join(f"{name} {version}: {', '.join(names)}" for name, version, names in each.events) or "none declared"),
        ("turns", f"{load.turns} of {each.max_runs}"),
        ("bodies", f"{load.bodies} of {each.max_tasks}"),
        ("in memory", f"{load.cached_runs} runs, {load.cached_actors} actors"),
        ("rates", f"{load.runs_per_second:g} runs and {load.steps_per_second:g} steps a second"),
        ("uses", f"{load.cpu:.0%} of a core, {load.memory_mb:g} MiB"),
    ]
    for name, text in lines:
        click.echo(f"{name:<10} {text}")


def _load(info: "WorkerInfo") -> str:
    load = info.load
    room = f"{load.turns}/{info.max_runs} turns, {load.bodies}/{info.max_tasks} bodies"
    return f"{room}, {load.runs_per_second:g} runs/s, {load.memory_mb:g} MiB"


def worker_document(info: "WorkerInfo") -> dict[str, Any]:
    """A worker as JSON; instants as in all documents."""
    return {
        "id": info.id,
        "queue": info.queue,
        "host": info.host,
        "started_at": datetime.fromtimestamp(info.started_at, UTC),
        "reported_at": datetime.fromtimestamp(info.reported_at, UTC),
        "workflows": [{"name": name, "version": version} for name, version in info.workflows],
        "tasks": list(info.tasks),
        "actors": list(info.actors),
        "max_runs": info.max_runs,
        "max_tasks": info.max_tasks,
        "python": info.python,
        "aiki": info.aiki,
        "load": {field: getattr(info.load, field) for field in info.load.__struct_fields__},
        "events": [{"workflow": name, "version": version, "names": list(names)} for name, version, names in info.events],
    }
