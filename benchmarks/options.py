"""What one benchmark run is asked to do."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["DURABILITIES", "MODES", "Durability", "Mode", "Options"]

Mode = Literal["remote", "local"]
Durability = Literal["os", "fsync"]

MODES: tuple[Mode, ...] = ("remote", "local")
DURABILITIES: tuple[Durability, ...] = ("os", "fsync")


@dataclass(frozen=True, kw_only=True)
class Options:
    """One run of one workload on one engine.

    `mode` and `durability` are Aiki's: peers have one way to run a step, and always sync their log.
    `runs` and `steps` are already the workload's own defaults where the command line gave none.
    """

    workload: str
    engine: str
    runs: int
    steps: int
    mode: Mode = "remote"
    durability: Durability = "os"
    workers: int = 1
    conc: int = 64
    """Starts in flight; with `closed`, runs in flight."""
    closed: bool = False
    codec: bool = False
    """Whether Aiki seals payloads."""
