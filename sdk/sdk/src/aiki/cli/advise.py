"""`aiki advise`: what the history says about the settings of tasks."""

from typing import TYPE_CHECKING

import click

from aiki.cli.output import console, emit, grid, span
from aiki.cli.session import Session, command

if TYPE_CHECKING:
    from aiki.client import Advice

__all__ = ["advise"]


@command("advise")
@click.argument("task", required=False)
async def advise(session: Session, task: str | None) -> None:
    """Propose time-outs, heartbeats, concurrency and retries for TASK, or for all tasks, from what the workers have measured.

    Each proposal comes with its evidence. The figures are of the last two weeks, over all workers of the region.
    """
    async with await session.connect() as client:
        found = await client.advice(task)
    if session.as_json:
        emit(found)
        return
    if not found:
        print("nothing was measured yet: workers report once a minute, and when they stop")
        return
    console().print(
        grid(("name", "", "n", "p50", "p95", "p99", "longest", "queued p99", "failed", "timeout"), [_row(each) for each in found])
    )
    for each in found:
        if each.kind != "task":
            continue
        print(f"\n{each.name}: {each.note or 'proposed'}")
        for proposal in each.proposals:
            now = "not set" if proposal.now is None else _shown(proposal.now)
            print(f"  {proposal.setting} = {_shown(proposal.proposed)} (now {now})\n    {proposal.evidence}")


def _row(each: "Advice") -> tuple[str, ...]:
    queued = "" if each.queued_p99 is None else span(each.queued_p99)
    timeout = "" if each.timeout is None else span(each.timeout)
    times = (span(each.p50), span(each.p95), span(each.p99), span(each.longest))
    return (each.name, each.kind, str(each.samples), *times, queued, f"{each.failure_rate:.1%}", timeout)


def _shown(value: float | int | tuple[str, ...]) -> str:
    return ", ".join(value) if isinstance(value, tuple) else f"{value:g}"
