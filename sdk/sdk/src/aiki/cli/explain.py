"""`aiki explain`: what an error means, and what to do."""

from pathlib import Path

import click

from aiki.cli.output import emit
from aiki.cli.session import Session, command
from aiki.types.errors import DefinitionError

__all__ = ["PAGES", "explain"]

PAGES = Path(__file__).parent / "pages"
"""A page for each code: `docs/reference/errors`, which comes with the command."""


@command("explain", connects=False)
@click.argument("code", required=False, metavar="[CODE]")
async def explain(session: Session, code: str | None) -> None:
    """Say what the error with this CODE means, how it comes about and what to do; without one, list the codes.

    The code is what stands after `aiki:` when a command fails, and `error.code` in a program.
    """
    pages = {page.stem: page for page in sorted(PAGES.glob("*.md")) if page.stem != "README"}
    if code is None:
        found = [{"code": name, "error": _title(page.read_text(encoding="utf-8"))} for name, page in pages.items()]
        if session.as_json:
            emit(found)
        else:
            for each in found:
                click.echo(f"{each['code']:24} {each['error']}")
        return
    if code not in pages:
        from difflib import get_close_matches

        close = get_close_matches(code, pages, n=3)
        hint = f"perhaps {' or '.join(close)}" if close else "`aiki explain` lists them"
        raise DefinitionError(f"there is no error with the code {code!r}: {hint}", what="code")
    text = pages[code].read_text(encoding="utf-8")
    if session.as_json:
        emit({"code": code, "error": _title(text), "page": text})
    else:
        click.echo(text, nl=False)


def _title(page: str) -> str:
    """The name of the class, which is the page's heading."""
    return page.splitlines()[0].removeprefix("# ").strip("`")
