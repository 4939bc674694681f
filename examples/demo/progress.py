"""The progress of the run as it is announced: a moving bar on a terminal, a line per tenth in a pipe."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from aiki.sdk import RunView

__all__ = ["LiveProgress", "recorded", "verifications"]


def verifications(view: RunView) -> int:
    """How many distributions are to be verified."""
    return sum(step.name == "verify" for step in view.steps)


def recorded(view: RunView) -> set[str]:
    """The distributions whose verification is recorded."""
    return {step.input["name"] for step in view.steps if step.name == "verify" and step.state == "completed"}


class LiveProgress:
    """Use with `with`; `show` each view, `say` what else happens."""

    def __init__(self, console: Console) -> None:
        self._console = console
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[state]}"),
        )
        self._bar = Progress(*columns, console=console, transient=True) if console.is_terminal else None
        self._line = self._bar.add_task("recorded", total=None, state="") if self._bar is not None else None
        self._tenth = -1

    def show(self, view: RunView) -> None:
        """The run has changed."""
        done, total = len(recorded(view)), verifications(view)
        if self._bar is not None and self._line is not None:
            self._bar.update(self._line, completed=done, total=total or None, state=view.status.state)
        elif total and done * 10 // total > self._tenth:
            self._tenth = done * 10 // total
            self._console.print(f"  {done:3} of {total} verifications recorded")

    def say(self, text: str) -> None:
        """A line that stays."""
        self._console.print(text)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()
