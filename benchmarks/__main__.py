"""`python -m benchmarks W1 …`, `… compare W1`, `… peers install`, `… blobs`, `… entities`, `… fairness`, `… messages` or `… schedules`."""

import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module

from benchmarks.arguments import parse
from benchmarks.loop import run
from benchmarks.peers.catalogue import PEERS
from benchmarks.peers.home import MissingPeer
from benchmarks.workloads.registry import UnknownWorkload

COMMANDS = {
    "compare": "benchmarks.compare:compare",
    "blobs": "benchmarks.blobs.measure:main",
    "fairness": "benchmarks.fairness.measure:main",
    "entities": "benchmarks.entities.measure:main",
    "messages": "benchmarks.messages.measure:main",
    "peers": "benchmarks.peers.install:install",
    "schedules": "benchmarks.schedules.measure:main",
}
"""What is no workload, and is imported when it is asked for."""


def main(words: Sequence[str]) -> int:
    """Do what the words say; the exit status."""
    try:
        if words and (place := COMMANDS.get(words[0])) is not None:
            module, _, name = place.partition(":")
            return int(getattr(import_module(module), name)(words[1:]))
        return single(words)
    except (UnknownWorkload, MissingPeer) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def single(words: Sequence[str]) -> int:
    """One run. A peer's is handed to the Python of that peer's own environment."""
    options = parse(words)
    if options.engine != "aiki":
        return subprocess.call(PEERS[options.engine].command(words), env=PEERS[options.engine].environment())
    from benchmarks.execute import execute
    from benchmarks.ours import Aiki

    print(run(execute(options, Aiki)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
