"""The comparison as a table for people."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from benchmarks.summary import COLUMNS, Row
from benchmarks.workloads.registry import WORKLOADS

__all__ = ["show"]


def show(workload: str, rows: Sequence[Row]) -> None:
    """Print a workload's rows: medians, and for ours how many times as good as each peer."""
    title = f"{workload} {WORKLOADS[workload].title}: medians of {max((row.rounds for row in rows), default=0)} rounds"
    peers = sorted({name for row in rows for name in row.ratios})
    measure = COLUMNS[workload][0].title
    caption = f"x peer: how many times as good as the peer, by {measure}; above 1 is better" if peers else None
    table = Table(title=title, caption=caption)
    for heading in ("engine", "mode", "durability"):
        table.add_column(heading)
    for column in COLUMNS[workload]:
        table.add_column(column.title, justify="right")
    for name in peers:
        table.add_column(f"x {name}", justify="right")
    for row in rows:
        figures = [_number(row.medians.get(column.key)) for column in COLUMNS[workload]]
        ratios = [_number(row.ratios.get(name)) for name in peers]
        table.add_row(row.contender.engine, row.contender.mode, row.contender.durability, *figures, *ratios)
    console = Console()
    console.width = max(console.width, 120)
    console.print(table)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    if value == int(value) and value < 100:
        return str(int(value))
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
