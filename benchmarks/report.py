"""The one JSON line that a run prints."""

import json
import os
import platform
from collections.abc import Mapping

from benchmarks.options import Options

__all__ = ["Figures", "line"]

Figures = Mapping[str, float | int | None]
"""Figures by key: see the table in `benchmarks/README.md`. None is left out."""


def line(options: Options, figures: Figures, load: tuple[float, float, float]) -> str:
    """The report of a run; `load` is the machine's load averages when it began."""
    ours = options.engine == "aiki"
    head: dict[str, object] = {
        "w": options.workload,
        "engine": options.engine,
        "mode": options.mode if ours else None,
        "durability": options.durability if ours else "fsync",
        "workers": options.workers,
        "conc": options.conc,
        "closed": options.closed or None,
    }
    tail: dict[str, object] = {"load": [round(each, 2) for each in load], "python": platform.python_version(), "cpus": os.cpu_count()}
    rounded = {key: round(value, 3) if isinstance(value, float) else value for key, value in figures.items()}
    return json.dumps({key: value for key, value in {**head, **rounded, **tail}.items() if value is not None})
