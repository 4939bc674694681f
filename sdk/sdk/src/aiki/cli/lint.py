"""`aiki lint`: what in workflow code will not replay?"""

import sys
from pathlib import Path
from typing import Literal

import click

from aiki.cli.output import emit
from aiki.cli.session import Session, command

__all__ = ["lint"]


@command("lint", connects=False)
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path), metavar="PATH...")
@click.option("--format", "style", type=click.Choice(["text", "github"]), default="text", show_default=True, help="How to print findings.")
async def lint(session: Session, paths: tuple[Path, ...], style: Literal["text", "github"]) -> None:
    """Find in workflow code what will not replay: clocks, chance, files, the network, threads, globals, steps without await.

    The code is read, not imported. The exit status is 1 when something is found; `# aiki: ignore[RULE]` on its line lets a place be.
    """
    from aiki.lint import lint_paths

    found = lint_paths(paths)
    if session.as_json:
        emit([{**each._asdict(), "message": each.message} for each in found])
    for each in found if not session.as_json else ():
        print(each.annotation() if style == "github" else f"{each.file}:{each.line}:{each.column}: {each.rule}: {each.message}")
    if found:
        sys.exit(1)
