"""One run of a peer, inside the peer's own environment: `python -m benchmarks.peers.run W1 --engine restate …`."""

import sys
from collections.abc import Sequence
from importlib import import_module

from benchmarks.arguments import parse
from benchmarks.execute import execute
from benchmarks.loop import run
from benchmarks.peers.catalogue import PEERS
from benchmarks.peers.home import MissingPeer


def main(words: Sequence[str]) -> int:
    """Run and print the line; the exit status."""
    options = parse(words)
    peer = PEERS[options.engine]
    if options.workload not in peer.workloads:
        print(f"error: {peer.name} cannot do {options.workload}; it does {', '.join(peer.workloads)}", file=sys.stderr)
        return 2
    try:
        print(run(execute(options, import_module(f"benchmarks.peers.{peer.name}.engine").ENGINE)), flush=True)
    except MissingPeer as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
