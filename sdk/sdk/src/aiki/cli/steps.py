"""A run's status and steps as text."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aiki.cli.journal import message_text
from aiki.cli.output import grid, instant, short, span

if TYPE_CHECKING:
    from rich.table import Table

    from aiki.client import ChildView, RunStatus, RunView, StepView

__all__ = ["messages_table", "status_lines", "step_rows", "steps_table", "tree_lines", "waits_table"]

MOST_WAITS = 20
MOST_MESSAGES = 50


def status_lines(view: "RunView") -> list[str]:
    """What one wants to know first, a line each."""
    status = view.status
    lines = [
        f"run       {status.id}",
        f"workflow  {status.workflow} {status.version}",
        f"state     {status.state}{_since(status)}",
        f"created   {instant(status.created_at)} UTC",
    ]
    if status.idempotency_key is not None:
        lines.append(f"key       {status.idempotency_key}")
    if status.archived_at is not None:
        lines.append(f"archived  {instant(status.archived_at)} UTC")
    if status.imported_at is not None:
        lines.append(f"imported  {instant(status.imported_at)} UTC, from an archive: it never runs")
    if view.parent is not None:
        lines.append(f"parent    {view.parent}")
    if view.worker is not None:
        lines.append(f"worker    {view.worker}")
    if status.attempts > 1:
        lines.append(f"attempt   {status.attempts} of the workflow")
    if status.sealed_with is not None:
        lines.append(f"sealed    with key {status.sealed_with}: give --codec-keys to see its input, steps and result")
    elif view.revision:
        lines.append(f"input     {short(view.input, 120)}")
    if status.state == "completed" and status.sealed_with is None:
        lines.append(f"output    {short(view.output, 120)}")
    if status.error is not None:
        lines.append(f"error     {' '.join(str(status.error).split())}")
    if status.waiting_on:
        more = len(status.waiting_on) - 5
        lines.append(f"waits for {', '.join(status.waiting_on[:5])}{f', and {more} more' if more > 0 else ''}")
    return lines


def _since(status: "RunStatus") -> str:
    if status.started_at is None:
        return ""
    end = status.finished_at or datetime.now(UTC)
    return f", {'after' if status.finished_at else 'for'} {span((end - status.started_at).total_seconds())}"


def step_rows(view: "RunView") -> list[tuple[str, ...]]:
    """A row per step: name, kind, state, attempts, worker, input, and output or error."""
    return [
        (
            step.name,
            step.kind,
            step.state,
            str(step.attempts),
            "(cache)" if step.cached else step.worker or "",
            short(step.input, 40),
            _outcome(step),
        )
        for step in view.steps
    ]


def waits_table(view: "RunView") -> "Table":
    """What it waits for, since when, and what will wake it; many are cut short."""
    rows = [(wait.what, instant(wait.since), instant(wait.until), wait.wakes) for wait in view.waits[:MOST_WAITS]]
    if (more := len(view.waits) - MOST_WAITS) > 0:
        rows.append((f"… and {more} more", "", "", ""))
    return grid(("waits for", "since (UTC)", "until at most", "woken by"), rows)


def messages_table(view: "RunView") -> "Table":
    """The messages that were applied to it, in order; of many the newest."""
    hidden = len(view.messages) - MOST_MESSAGES
    rows = [(f"… {hidden} before", "", "", "")] if hidden > 0 else []
    rows += [(each.what, each.name, instant(each.at), message_text(each)) for each in view.messages[-MOST_MESSAGES:]]
    return grid(("message", "name", "at (UTC)", ""), rows)


def tree_lines(view: "RunView") -> list[str]:
    """Its sub-workflows, a line each, as a tree."""
    return ["", "children", *_branches(view.children, "  ")] if view.children else []


def _branches(children: "tuple[ChildView, ...]", indent: str) -> list[str]:
    lines = []
    for child in children:
        why = f": {short(str(child.error), 60)}" if child.error is not None else ""
        lines.append(f"{indent}{child.workflow} {child.id} {child.state}{why}")
        lines += _branches(child.children, indent + "  ")
    return lines


def _outcome(step: "StepView") -> str:
    if step.error is not None:
        return short(str(step.error), 60)
    if step.state == "completed":
        return short(step.output, 60)
    if step.failed_attempts:
        return f"last failure: {short(str(step.failed_attempts[-1].error), 46)}"
    return ""


def steps_table(view: "RunView") -> "Table":
    """The steps, in the order in which they were recorded."""
    return grid(("step", "kind", "state", "attempts", "worker", "input", "outcome"), step_rows(view))
