"""Medians of several runs, and how two engines compare."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.contender import Contender

__all__ = ["COLUMNS", "Column", "Row", "summarise"]


@dataclass(frozen=True)
class Column:
    """A figure that is shown: the median of the rounds, or the `worst` of them where one bad round is one too many.

    `better` says which way is good; the first column of a workload is what ratios are of.
    """

    key: str
    title: str
    better: str = "lower"
    worst: bool = False


COLUMNS: Mapping[str, tuple[Column, ...]] = {
    "W1": (
        Column("wf_s", "runs/s", "higher"),
        Column("steps_s", "steps/s", "higher"),
        Column("cpu_ms_per_run", "CPU ms/run"),
        Column("durable_writes_per_run", "writes/run"),
    ),
    "W2": (
        Column("p50_ms", "p50 ms"),
        Column("p99_ms", "p99 ms"),
        Column("cpu_ms_per_run", "CPU ms/run"),
        Column("durable_writes_per_run", "writes/run"),
    ),
    "W3": (Column("ms", "ms"), Column("durable_writes_per_run", "writes/run")),
    "W6": (Column("ms", "ms"), Column("bytes_written_per_step", "bytes/step"), Column("durable_writes_per_run", "writes/run")),
    "W4": (
        Column("late_p50_ms", "late p50 ms"),
        Column("late_p99_ms", "late p99 ms"),
        Column("late_max_ms", "late max ms", worst=True),
        Column("pss_mb", "PSS MB"),
        Column("lost", "lost", worst=True),
    ),
    "W5": (
        Column("recover_s", "recovery s"),
        Column("started_more_than_once", "started twice", worst=True),
        Column("finished_more_than_once", "finished twice", worst=True),
        Column("recorded_more_than_once", "recorded, ran again", worst=True),
        Column("lost", "lost", worst=True),
    ),
    "W7": (
        Column("server_bytes_per_run", "server bytes/run"),
        Column("worker_bytes_per_run", "worker bytes/run"),
        Column("restart_s", "restart s"),
        Column("lost", "lost", worst=True),
    ),
}


@dataclass(frozen=True)
class Row:
    """A contender's medians (or worst figures) on one workload, and by peer how many times as good as the peer it is (above 1: better)."""

    contender: Contender
    rounds: int
    medians: Mapping[str, float]
    ratios: Mapping[str, float]


def summarise(workload: str, results: Mapping[Contender, Sequence[Mapping[str, Any]]]) -> list[Row]:
    """One row per contender that has figures, in the order given; peers have no ratios."""
    medians = {contender: _medians(workload, runs) for contender, runs in results.items() if runs}
    first = COLUMNS[workload][0]
    rows = []
    for contender, own in medians.items():
        ratios = {}
        for other, theirs in medians.items():
            if contender.engine == "aiki" and other.engine != "aiki":
                ratio = own[first.key] / theirs[first.key]
                ratios[other.engine] = ratio if first.better == "higher" else 1 / ratio
        rows.append(Row(contender, len(results[contender]), own, ratios))
    return rows


def _medians(workload: str, runs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    columns = [column for column in COLUMNS[workload] if all(column.key in run for run in runs)]
    return {column.key: float((max if column.worst else median)([run[column.key] for run in runs])) for column in columns}
