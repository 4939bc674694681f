"""`python -m benchmarks W1 …` · `… entities` · `… messages` · `… schedules` · `… compare W1 W2 …` · `… peers install`."""

import subprocess
import sys
from collections.abc import Sequence

from benchmarks.arguments import parse
from benchmarks.loop import run
from benchmarks.peers.catalogue import PEERS
from benchmarks.peers.home import MissingPeer
from benchmarks.workloads.registry import UnknownWorkload


def main(words: Sequence[str]) -> int:
    """Do what the words say; the exit status."""
    try:
        if words[:1] == ["compare"]:
            from benchmarks.compare import compare

            return compare(words[1:])
        if words[:1] == ["peers"]:
            from benchmarks.peers.install import install

            return install(words[1:])
        if words[:1] == ["entities"]:
            from benchmarks.entities.measure import main as entities

            return entities(words[1:])
        if words[:1] == ["messages"]:
            from benchmarks.messages.measure import main as messages

            return messages(words[1:])
        if words[:1] == ["schedules"]:
            from benchmarks.schedules.measure import main as schedules

            return schedules(words[1:])
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
