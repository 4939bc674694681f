"""Output: tables for people, JSON for programs."""

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["age", "console", "emit", "grid", "instant", "short", "span", "table"]

PIPE_WIDTH = 160
"""Columns when nobody's terminal says how many there are."""


def emit(document: Any) -> None:
    """One JSON document on one line, at once. Structs, instants and the like are written as msgspec writes them."""
    import msgspec

    sys.stdout.write(msgspec.json.encode(document).decode() + "\n")
    sys.stdout.flush()


def console() -> "Console":
    """Standard output: with styles on a terminal, plain text in a pipe."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)


def grid(headings: Sequence[str], rows: Iterable[Sequence[str]], *, keep: bool = False) -> "Table":
    """A table without rules; what users typed is never read as markup. `keep`: cells keep to one line."""
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, header_style="bold")
    for number, heading in enumerate(headings):
        # The first column names the row: it is never cut.
        made.add_column(heading, overflow="fold", no_wrap=keep or number == 0)
    for row in rows:
        made.add_row(*(Text(cell) for cell in row))
    return made


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> None:
    """Print a table, or the words in `empty` when there are no rows."""
    if rows:
        console().print(grid(headings, rows))
    else:
        print(empty)


def instant(at: datetime | None) -> str:
    """An instant in UTC, to the second."""
    return "" if at is None else at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def span(seconds: float) -> str:
    """A duration in the unit that suits it: 12 ms, 3.4 s, 5 min, 2 h, 3 d."""
    seconds = max(seconds, 0.0)
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    for unit, size, limit in (("min", 60, 3600), ("h", 3600, 86_400)):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def age(since: datetime) -> str:
    """How long ago."""
    return span((datetime.now(UTC) - since).total_seconds())


def short(value: Any, limit: int = 60) -> str:
    """A JSON value on one line, cut to `limit` characters."""
    import msgspec

    text = msgspec.json.encode(value).decode()
    return text if len(text) <= limit else text[: limit - 1] + "…"
