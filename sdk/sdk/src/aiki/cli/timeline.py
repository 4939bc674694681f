"""A run's timeline as text: one line per step, a bar from its start to its end."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aiki.cli.output import grid, span

if TYPE_CHECKING:
    from rich.table import Table

    from aiki.client import RunView, StepView

__all__ = ["bar", "timeline"]

LEAST, MOST = 8, 60
"""Columns that a bar's place may have."""
LABEL = 36


def timeline(view: "RunView", columns: int, *, label: "Callable[[StepView], str] | None" = None) -> "Table":
    """Step, worker, start (since the run began), duration and bar, by start, in `columns` columns.

    Steps without an outcome have a bar up to now, drawn with dots; failed ones are drawn with x. `label`: what to call a step.
    """
    begin = view.status.started_at or view.status.created_at
    end = view.status.finished_at or max([datetime.now(UTC), *_instants(view)])
    total = max((end - begin).total_seconds(), 1e-6)
    headings = ("step", "worker", "start", "took")
    rows, places = [], []
    for step in sorted(view.steps, key=lambda step: step.started_at or step.issued_at):
        start = step.started_at or step.issued_at
        offset, length = (start - begin).total_seconds(), ((step.finished_at or end) - start).total_seconds()
        took = span(length) if step.finished_at is not None else step.state
        name = step.name if label is None else label(step)
        rows.append((name if len(name) <= LABEL else name[: LABEL - 1] + "…", step.worker or "", f"+{span(offset)}", took))
        places.append((offset / total, length / total, {"completed": "█", "failed": "x"}.get(step.state, "·")))
    taken = sum(max(len(row[number]) for row in (headings, *rows)) + 1 for number in range(len(headings)))
    width = min(max(columns - taken - 1, LEAST), MOST)
    lines = [(*row, bar(offset, length, width, mark=mark)) for row, (offset, length, mark) in zip(rows, places, strict=True)]
    return grid((*headings, f"0 … {span(total)}"), lines, keep=True)


def _instants(view: "RunView") -> "Iterable[datetime]":
    return (step.finished_at for step in view.steps if step.finished_at is not None)


def bar(offset: float, length: float, width: int, *, mark: str = "█") -> str:
    """A bar of `width` columns: `offset` and `length` are shares of the whole. Never shorter than a column, never outside."""
    first = min(max(int(offset * width), 0), width - 1)
    last = min(max(round((offset + length) * width), first + 1), width)
    return " " * first + mark * (last - first)
