"""Installing the peers from PyPI and npm, at pinned versions, by their ordinary clients: `python -m benchmarks peers install [name …]`."""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.catalogue import PEERS, Peer
from benchmarks.peers.home import MissingPeer, home
from benchmarks.peers.postgres import binaries

__all__ = ["install"]


def install(words: Sequence[str]) -> int:
    """Install the named peers, or all; the exit status. What one lacks does not keep the others from being installed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks peers", description=__doc__)
    parser.add_argument("action", choices=["install"])
    parser.add_argument("names", nargs="*", metavar="peer", help=f"of {', '.join(PEERS)} (default: all)")
    names = parser.parse_args(words).names or list(PEERS)
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        parser.error(f"unknown peer {unknown[0]!r}; there are: {', '.join(PEERS)}")
    missing = 0
    for name in names:
        try:
            install_peer(PEERS[name])
            print(f"{name}: installed in {PEERS[name].folder}")
        except MissingPeer as error:
            missing += 1
            print(f"{name}: {error}", file=sys.stderr)
    return 1 if missing else 0


def install_peer(peer: Peer) -> None:
    """Make its environment, or complete it; raises `MissingPeer` when that is impossible here."""
    if peer.postgres:
        binaries()
    npm = shutil.which("npm")
    if peer.npm and not (npm and shutil.which("node")):
        raise MissingPeer("needs Node.js with npm on the PATH, which is not there; install it from your distribution")
    peer.folder.mkdir(parents=True, exist_ok=True)
    home().chmod(0o755)
    if not peer.python.exists():
        _run([sys.executable, "-m", "venv", str(peer.folder / "venv")], peer.folder)
    _run([str(peer.python), "-m", "pip", "install", "--quiet", *peer.requirements], peer.folder)
    if npm and peer.npm:
        (peer.folder / "package.json").write_text('{"private": true}\n')
        _run([npm, "install", "--silent", "--ignore-scripts", *peer.npm], peer.folder)


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        last = (done.stdout.strip().splitlines() or ["no output"])[-1]
        raise MissingPeer(f"`{' '.join([Path(command[0]).name, *command[1:]])}` failed: {last}")
