"""What the command line prints."""

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from rich.console import Console

from aiki.actors.roster import WorkerInfo
from aiki.cli.journal import entry_document, entry_rows
from aiki.cli.output import grid, short, span
from aiki.cli.steps import status_lines, step_rows
from aiki.cli.timeline import bar, timeline
from aiki.cli.versions import served_version
from aiki.cli.watch import news
from aiki.client import RunStatus, RunView, StepView
from aiki.journal import Entry, RecordedStep, Retried, Tick
from aiki.types.errors import UnknownWorkflow
from aiki.types.failure import ErrorInfo
from aiki.types.identifiers import RunId
from aiki.types.states import State

BEGAN = datetime(2026, 1, 1, 12, tzinfo=UTC)


def step(name: str, state: str, start: float, end: float | None, **more: Any) -> StepView:
    fields: dict[str, Any] = {
        "address": name,
        "ordinal": 0,
        "kind": "task",
        "name": name,
        "state": state,
        "input": None,
        "output": None,
        "error": None,
        "issued_at": BEGAN + timedelta(seconds=start),
        "started_at": None if end is None else BEGAN + timedelta(seconds=start),
        "finished_at": None if end is None else BEGAN + timedelta(seconds=end),
        "attempts": 1,
        "failed_attempts": (),
        "worker": None if end is None else "w1",
        "queue": None,
    }
    return StepView(**{**fields, **more})


def view(*steps: StepView, state: State = "running", end: float | None = None, error: ErrorInfo | None = None) -> RunView:
    status = RunStatus(
        id=RunId("r1"),
        state=state,
        workflow="order",
        version="1.0.0",
        attempts=1,
        created_at=BEGAN,
        started_at=BEGAN,
        finished_at=None if end is None else BEGAN + timedelta(seconds=end),
        error=error,
        waiting_on=(),
    )
    return RunView(status=status, input={"a": 1}, output=[1], steps=steps, sleeps_until=None, ticks=0, revision=7, host="")


def text(renderable: Any, width: int = 100) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width, highlight=False).print(renderable)
    return [line.rstrip() for line in out.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [(0, 1, "████████"), (0.5, 0.25, "    ██"), (0, 0, "█"), (1, 0, "       █"), (0.5, 9, "    ████"), (-1, 0, "█")],
)
def test_a_bar_is_never_empty_and_never_outside(offset: float, length: float, expected: str) -> None:
    assert bar(offset, length, 8) == expected


def test_the_timeline_is_in_order_of_start_and_fits() -> None:
    steps = (step("late", "completed", 5, 10), step("early", "failed", 0, 5), step("x" * 50, "running", 5, None))
    lines = text(timeline(view(*steps, state="failed", end=10), 80), 80)
    assert lines[0].split() == ["step", "worker", "start", "took", "0", "…", "10.0", "s"]
    assert lines[1].startswith("early")
    assert lines[1].endswith("x")
    assert lines[2].startswith("late")
    assert lines[2].endswith("█")
    assert "running" in lines[3]
    assert lines[3].endswith("·")
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("seconds", "expected"), [(-1, "0 ms"), (0.0123, "12 ms"), (3.44, "3.4 s"), (300, "5 min"), (7200, "2 h"), (3 * 86_400, "3 d")]
)
def test_spans(seconds: float, expected: str) -> None:
    assert span(seconds) == expected


def test_long_values_are_cut() -> None:
    assert short({"a": "ü"}) == '{"a":"ü"}'
    assert len(short("x" * 500, 60)) == 60


def test_what_users_typed_is_no_markup() -> None:
    assert text(grid(("name",), [("[red]x[/red]",)])) == ["name", "[red]x[/red]"]


def test_status_and_steps() -> None:
    failed = view(step("a", "failed", 0, 1, error=ErrorInfo(type="ValueError", message="two\nlines")), state="failed", end=1)
    lines = status_lines(
        msgspec.structs.replace(failed, status=msgspec.structs.replace(failed.status, error=ErrorInfo(type="E", message="x\ny")))
    )
    assert "state     failed, after 1.0 s" in lines
    assert "error     E: x y" in lines
    assert step_rows(failed)[0][:5] == ("a", "task", "failed", "1", "w1")
    assert "\n" not in step_rows(failed)[0][-1]


def test_news_are_told_once() -> None:
    seen: dict[tuple[str, int], str] = {}
    state: list[str] = []
    assert news(view(step("a", "running", 0, None)), seen, state) == ["step a running", "run r1 running"]
    assert news(view(step("a", "running", 0, None)), seen, state) == []
    assert news(view(step("a", "completed", 0, 1, output=3), state="completed", end=1), seen, state) == [
        "step a completed 3",
        "run r1 completed",
        "output    [1]",
    ]


def test_journal_entries() -> None:
    error = ErrorInfo(type="ValueError", message="no")
    entries: list[Entry] = [
        RecordedStep("a:1", 0, "task", "a", b'{"x":1}', 1.0, 3.0, b"5", None, 2.0, "w1"),
        Tick(4.0),
        Retried(5.0, error),
        RecordedStep("b:1", 0, "local", "b", b"null", 5.0, 6.0, b"", error, 5.0, "w1"),
    ]
    documents = msgspec.json.decode(msgspec.json.encode([entry_document(entry) for entry in entries]))
    assert [document["entry"] for document in documents] == ["step", "tick", "retried", "step"]
    assert documents[0]["input"] == {"x": 1}
    assert documents[0]["output"] == 5
    assert documents[3]["error"]["message"] == "no"
    assert [row[-1] for row in entry_rows(entries)] == [
        "5",
        "timers fired",
        "the workflow failed and begins again: ValueError: no",
        "failed: ValueError: no",
    ]


def worker(*workflows: tuple[str, str]) -> WorkerInfo:
    return WorkerInfo(
        id="w", queue="default", host="h", started_at=0, reported_at=0, workflows=workflows, tasks=(), max_runs=1, max_tasks=1
    )


def test_the_newest_served_version_is_meant() -> None:
    assert served_version("order", [worker(("order", "1.9.0"), ("order", "1.10.0")), worker(("order", "1.10.0-rc1"))]) == "1.10.0"
    with pytest.raises(UnknownWorkflow, match=r"live workers serve: order 1\.0\.0"):
        served_version("ordre", [worker(("order", "1.0.0"))])
    with pytest.raises(UnknownWorkflow, match="no live worker serves anything"):
        served_version("order", [])
