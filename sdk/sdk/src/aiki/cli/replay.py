"""`aiki replay`: does the code still fit the runs that are recorded?"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aiki.cli.output import emit, table
from aiki.cli.session import Session, command

if TYPE_CHECKING:
    from aiki.client import RunHistory
    from aiki.worker import Registry
    from aiki.workflow import Workflow

__all__ = ["replay"]


@command("replay", connects=False)
@click.argument("module", metavar="MODULE[:REGISTRY]")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="HISTORY.json...")
async def replay(session: Session, module: str, files: tuple[Path, ...]) -> None:
    """Replay recorded runs against the code of MODULE as it is now, without a server: nothing runs, nothing is sent.

    The files are those that `aiki run history ID --export FILE` writes. The exit status is 1 when the code does not fit one of them.
    """
    from aiki.cli.target import collect
    from aiki.client import RunHistory
    from aiki.types.errors import AikiError
    from aiki.worker import Registry
    from aiki.workflow import replay

    registry = Registry()
    collect((module,), registry)
    found: list[dict[str, Any]] = []
    for file in files:
        history = RunHistory.from_json(file.read_bytes())
        document = {"file": str(file), "run": history.run_id, "workflow": history.workflow, "version": history.version}
        try:
            replayed = replay(_workflow(registry, history), history)
        except AikiError as error:
            found.append({**document, "fits": False, "state": None, "code": error.code, "why": str(error)})
        else:
            found.append({**document, "fits": True, "state": replayed.state, "code": None, "why": None})
    if session.as_json:
        emit(found)
    else:
        rows = [
            (each["file"], f"{each['workflow']} {each['version']}", "fits" if each["fits"] else each["code"], each["state"] or each["why"])
            for each in found
        ]
        table(("history", "workflow", "", "comes to"), rows, empty="")
    if not all(each["fits"] for each in found):
        sys.exit(1)


def _workflow(registry: "Registry", history: "RunHistory") -> "Workflow[Any, Any]":
    """The one that would go on with the run; of another version only when that is the sole one with the name."""
    from aiki.types.errors import UnknownWorkflow

    exact = registry.workflows.get((history.workflow, history.version))
    named = [each for (name, _), each in registry.workflows.items() if name == history.workflow]
    if exact is not None:
        return exact
    if len(named) == 1:
        return named[0]
    raise UnknownWorkflow(
        f"no workflow {history.workflow!r} version {history.version!r} there", workflow=history.workflow, version=history.version
    )
