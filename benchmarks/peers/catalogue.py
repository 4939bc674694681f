"""Which peers there are, and what each needs."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.home import MissingPeer, home

__all__ = ["PEERS", "Peer"]

ROOT = Path(__file__).resolve().parents[2]

PSYCOPG = "psycopg[binary]==3.3.9"
UVLOOP = "uvloop==0.23.0"


@dataclass(frozen=True)
class Peer:
    """An engine to compare with. Its programs run in a virtual environment of its own, which `python -m benchmarks peers install` makes."""

    name: str
    requirements: tuple[str, ...]
    workloads: tuple[str, ...]
    npm: tuple[str, ...] = ()
    postgres: bool = False
    options: tuple[str, ...] = ()
    """Options of a single run with which the engine does best; `compare` uses them."""

    @property
    def folder(self) -> Path:
        return home() / self.name

    @property
    def python(self) -> Path:
        return self.folder / "venv" / "bin" / "python"

    def command(self, words: Sequence[str]) -> list[str]:
        """The command of a single run; raises `MissingPeer` when it is not installed."""
        if not self.python.exists():
            raise MissingPeer(f"{self.name} is not installed under {home()}: run `python -m benchmarks peers install {self.name}`")
        return [str(self.python), "-m", "benchmarks.peers.run", *words]

    def environment(self) -> dict[str, str]:
        """Its variables: this repository's `benchmarks` package comes from the source tree."""
        return {**os.environ, "PYTHONPATH": str(ROOT)}


PEERS = {
    peer.name: peer
    for peer in (
        Peer(
            "restate",
            requirements=("restate_sdk[serde]==1.3.0", "granian==2.8.7", "aiohttp==3.14.5", UVLOOP),
            npm=("@restatedev/restate-server@1.7.12",),
            workloads=("W1", "W2", "W3", "W4", "W5"),
        ),
        Peer(
            "dbos",
            requirements=("dbos==3.4.0", PSYCOPG, UVLOOP),
            postgres=True,
            workloads=("W1", "W2", "W3", "W5"),
            options=("--closed", "--conc", "4"),
        ),
        Peer(
            "absurd",
            requirements=("absurd-sdk==0.5.1", "absurdctl==0.5.1", PSYCOPG, UVLOOP),
            postgres=True,
            workloads=("W1", "W2", "W3", "W5"),
        ),
        Peer(
            "procrastinate",
            requirements=("procrastinate==3.10.0", PSYCOPG, UVLOOP),
            postgres=True,
            workloads=("W1",),
        ),
    )
}
