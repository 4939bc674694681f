"""The command line of a single run, the same in our environment and in a peer's."""

import argparse
from collections.abc import Sequence

from benchmarks.options import DURABILITIES, MODES, Options
from benchmarks.peers.catalogue import PEERS
from benchmarks.workloads.registry import WORKLOADS, find

__all__ = ["parse"]


def parse(words: Sequence[str]) -> Options:
    """The options of `W1 --workflows 500 …`; ends the process with a clear line when they make no sense."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="One run of one workload; prints one JSON line. See also `compare` and `peers install`.",
    )
    parser.add_argument("workload", help=", ".join(f"{name}: {each.title}" for name, each in WORKLOADS.items()))
    parser.add_argument("--engine", default="aiki", choices=["aiki", *PEERS])
    parser.add_argument("--runs", "--workflows", "--sleepers", type=_positive, dest="runs", help="how many runs (default: the workload's)")
    parser.add_argument(
        "--steps",
        type=_positive,
        help="steps of a run; W4: seconds until the sleepers are due, W7: seconds over which they are (default: the workload's)",
    )
    parser.add_argument("--mode", default="remote", choices=MODES, help="where Aiki runs steps")
    parser.add_argument("--durability", default="os", choices=DURABILITIES, help="who syncs Aiki's store: the system, later, or each write")
    parser.add_argument("--codec", action="store_true", help="seal payloads, with AES-GCM")
    parser.add_argument("--workers", type=_positive, default=1, help="worker processes")
    parser.add_argument("--conc", type=_positive, default=64, help="starts at a time")
    parser.add_argument("--closed", action="store_true", help="--conc bounds the runs in flight instead of the starts")
    given = parser.parse_args(words)
    workload = find(given.workload)
    return Options(
        workload=given.workload,
        engine=given.engine,
        runs=given.runs or workload.runs,
        steps=given.steps or workload.steps,
        mode=given.mode,
        durability=given.durability,
        workers=given.workers,
        conc=given.conc,
        closed=given.closed,
        codec=given.codec,
    )


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return number
