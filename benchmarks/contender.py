"""Who takes part in a comparison."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.options import Durability, Mode
from benchmarks.peers.catalogue import PEERS, ROOT

__all__ = ["Contender", "Failed", "ours", "peer"]

TIMEOUT_S = 240


class Failed(Exception):
    """A run gave no figures; the message is its last word."""


@dataclass(frozen=True)
class Contender:
    """An engine with the options it is run with. `names` are those options as the table shows them."""

    engine: str
    options: tuple[str, ...]
    workloads: tuple[str, ...] | None = None
    mode: str = ""
    durability: str = "fsync"

    def measure(self, workload: str, extra: Sequence[str]) -> dict[str, Any]:
        """One run in a process of its own: its figures. Raises `Failed`."""
        command = [sys.executable, "-m", "benchmarks", workload, "--engine", self.engine, *extra, *self.options]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            output, errors = process.communicate(timeout=TIMEOUT_S)
        except BaseException as error:
            process.terminate()
            process.wait()
            if isinstance(error, subprocess.TimeoutExpired):
                raise Failed(f"no result within {TIMEOUT_S} s") from None
            raise
        if process.returncode or not output.strip():
            raise Failed((errors.strip().splitlines() or ["no output"])[-1])
        figures: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
        return figures


def ours(mode: Mode, durability: Durability) -> Contender:
    """Aiki in one of its modes."""
    return Contender("aiki", ("--mode", mode, "--durability", durability), mode=mode, durability=durability)


def peer(name: str) -> Contender:
    """A peer, with the options it does best with."""
    return Contender(name, PEERS[name].options, workloads=PEERS[name].workloads, mode=" ".join(PEERS[name].options))
