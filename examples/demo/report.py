"""What the demonstration prints at its end."""

from rich.console import Console
from rich.table import Table

from aiki.cli.timeline import timeline
from aiki.sdk import RunView
from examples.audit import Report
from examples.demo.proof import Proof

__all__ = ["print_proof", "print_report", "print_timeline"]


def print_report(console: Console, report: Report) -> None:
    """A line per distribution, and the totals."""
    console.print("\nThe report: files of each installed distribution against its own RECORD", style="bold")
    table = Table(box=None, pad_edge=False)
    table.add_column("distribution", no_wrap=True)
    for heading in ("ok", "missing", "changed", "unhashed", "MB hashed"):
        table.add_column(heading, justify="right")
    for verdict in report.verdicts:
        counts = (verdict.ok, len(verdict.missing), len(verdict.changed), verdict.unhashed)
        table.add_row(f"{verdict.name} {verdict.version}", *map(str, counts), f"{verdict.bytes_hashed / 1e6:.2f}")
    totals = report.totals
    table.add_section()
    counts = (totals.ok, totals.missing, totals.changed, totals.unhashed)
    table.add_row(f"all {totals.distributions}", *map(str, counts), f"{totals.bytes_hashed / 1e6:.2f}", style="bold")
    console.print(table)
    for verdict in report.verdicts:
        for what, names in (("missing", verdict.missing), ("changed", verdict.changed)):
            if names:
                console.print(f"  {what} of {verdict.name}: {', '.join(names[:5])}{' …' if len(names) > 5 else ''}")
    console.print(f"{totals.bytes_hashed:,} bytes hashed; the run took {report.seconds:.1f} s, the kill included")


def print_timeline(console: Console, view: RunView) -> None:
    """Each step's worker, start and duration."""
    console.print(f"\nThe timeline of run {view.status.id}", style="bold")
    console.print(timeline(view, console.width, label=lambda step: f"verify {step.input['name']}" if step.name == "verify" else step.name))


def print_proof(console: Console, proof: Proof) -> bool:
    """Whether it holds, in plain words."""
    console.print("\nThe proof", style="bold")
    console.print(f"  recorded right after the kill: {len(proof.recorded)} verifications")
    console.print(f"  bodies that began after the kill: {proof.later}")
    console.print(f"  of these, bodies of a verification that was recorded: {len(proof.violations)}")
    repeated = ", ".join(proof.repeated) or "none"
    console.print(f"  bodies that began twice, since the kill came before their result was recorded: {repeated}")
    for body in proof.violations:
        console.print(f"  VIOLATED: {body.distribution} was recorded, and began again in process {body.pid}", style="red")
    if not proof.violations:
        console.print("PROOF HOLDS: no recorded task ran again", style="green")
    return not proof.violations
