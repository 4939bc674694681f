"""What `aiki run watch` shows of each change: a table in place on a terminal, a line per event in a pipe, JSON lines for programs."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from aiki.cli.output import console, emit
from aiki.cli.steps import status_lines, step_rows, steps_table

if TYPE_CHECKING:
    from rich.console import Group

    from aiki.client import RunView

__all__ = ["news", "watcher"]

TALLEST = 12
"""Steps that a terminal shows at a time: those that are not over, and the newest of the others."""


@contextmanager
def watcher(as_json: bool) -> "Iterator[Callable[[RunView], None]]":
    """A function that shows one view after another."""
    if as_json:
        yield emit
    elif sys.stdout.isatty():
        from rich.live import Live

        with Live(console=console(), auto_refresh=False) as live:
            yield lambda view: live.update(_picture(view), refresh=True)
    else:
        seen: dict[tuple[str, int], str] = {}
        state: list[str] = []

        def print_news(view: "RunView") -> None:
            for line in news(view, seen, state):
                print(line, flush=True)

        yield print_news


def news(view: "RunView", seen: dict[tuple[str, int], str], state: list[str]) -> list[str]:
    """A line for each step, and for the run, whose state is not what `seen` and `state` remember; both are brought up to date."""
    lines = []
    for step, row in zip(view.steps, step_rows(view), strict=True):
        mark = f"{step.state} {len(step.failed_attempts)}"
        if seen.get((step.address, step.ordinal)) != mark:
            seen[step.address, step.ordinal] = mark
            lines.append(" ".join(part for part in (f"step {step.name} {step.state}", row[-1]) if part))
    if state != [view.status.state]:
        state[:] = [view.status.state]
        outcome = status_lines(view)
        lines += [f"run {view.status.id} {view.status.state}"]
        lines += [line for line in outcome if line.startswith(("output", "error"))]
    return lines


def _picture(view: "RunView") -> "Group":
    import msgspec
    from rich.console import Group
    from rich.text import Text

    finished = sum(step.finished_at is not None for step in view.steps)
    shown = msgspec.structs.replace(view, steps=view.steps[-TALLEST:])
    hidden = len(view.steps) - len(shown.steps)
    more = [Text(f"… and {hidden} steps before")] if hidden else []
    counts = [Text(f"steps     {finished} of {len(view.steps)} have an outcome")] if view.steps else []
    return Group(*(Text(line) for line in status_lines(view)), *counts, Text(""), *more, steps_table(shown))
