"""CPU time, memory and storage writes of process trees, from /proc. Elsewhere than on Linux every figure is 0."""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

__all__ = ["cpu_seconds", "pss_mb", "storage_bytes"]

PROC = Path("/proc")


def cpu_seconds(roots: Iterable[int]) -> float:
    """User and system time of the trees so far, in seconds. Processes that have ended count only where their parent has waited for them."""
    ticks = 0
    for pid in _tree(roots):
        fields = _stat(pid)
        if fields:
            ticks += sum(int(field) for field in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def pss_mb(roots: Iterable[int]) -> float:
    """Proportional set size of the trees in MiB: shared pages are split among those who share them."""
    return sum(_field(PROC / str(pid) / "smaps_rollup", "Pss:") for pid in _tree(roots)) / 1024


def storage_bytes(roots: Iterable[int]) -> int:
    """Bytes the trees caused to be sent to storage so far: whole pages, as the kernel counts them."""
    return sum(_field(PROC / str(pid) / "io", "write_bytes:") for pid in _tree(roots))


def _tree(roots: Iterable[int]) -> Iterator[int]:
    children: dict[int, list[int]] = defaultdict(list)
    for entry in PROC.glob("[0-9]*"):
        fields = _stat(int(entry.name))
        if fields:
            children[int(fields[1])].append(int(entry.name))
    seen: set[int] = set()
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        if pid not in seen:
            seen.add(pid)
            waiting += children[pid]
            yield pid


def _stat(pid: int) -> list[str]:
    """The fields of `/proc/<pid>/stat` after the command's name: the state first, then the parent."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return []
    return text[text.rindex(")") + 2 :].split()


def _field(path: Path, name: str) -> int:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)
