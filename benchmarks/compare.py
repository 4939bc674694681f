"""Ours and the peers' on the same work, interleaved, since a machine drifts: `python -m benchmarks compare W1 W2 --peers restate`."""

import argparse
import json
import sys
from collections.abc import Sequence

from benchmarks.contender import Contender, Failed, ours, peer
from benchmarks.options import DURABILITIES, MODES
from benchmarks.peers.catalogue import PEERS
from benchmarks.peers.home import MissingPeer
from benchmarks.summary import Row, summarise
from benchmarks.table import show
from benchmarks.workloads.registry import WORKLOADS, find

__all__ = ["compare"]

DEFAULT_PEERS = ("restate",)

Results = dict[str, dict[Contender, list[dict[str, object]]]]


def compare(words: Sequence[str]) -> int:
    """Run and print; the exit status is 1 when a run failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks compare", description=__doc__)
    parser.add_argument("workloads", nargs="*", metavar="workload", help=f"of {', '.join(WORKLOADS)} (default: all)")
    parser.add_argument("--peers", nargs="*", choices=list(PEERS), help="whom to compare with (default: restate, if installed)")
    parser.add_argument("--modes", nargs="+", default=list(MODES), choices=MODES, help="ours: where steps run")
    parser.add_argument("--durabilities", nargs="+", default=list(DURABILITIES), choices=DURABILITIES, help="ours: who syncs the store")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", default="1")
    parser.add_argument("--json", action="store_true", help="JSON lines: one per run, then one per row of the summary")
    given = parser.parse_args(words)
    workloads = given.workloads or list(WORKLOADS)
    for name in workloads:
        find(name)
    contenders = [peer(name) for name in _peers(given.peers)]
    contenders += [ours(mode, durability) for mode in given.modes for durability in given.durabilities]
    results: Results = {workload: {each: [] for each in contenders if workload in (each.workloads or workloads)} for workload in workloads}
    failures = 0
    for round in range(1, given.rounds + 1):
        for workload, runs in results.items():
            for contender, figures in runs.items():
                try:
                    figures.append(contender.measure(workload, ["--workers", given.workers]))
                except Failed as error:
                    failures += 1
                    print(f"round {round}: {workload} {contender.engine} {contender.mode}: {error}", file=sys.stderr)
                    continue
                if given.json:
                    print(json.dumps({"round": round, **figures[-1]}), flush=True)
                elif sys.stderr.isatty():
                    print(f"round {round}: {workload} {contender.engine} {contender.mode} {contender.durability}", file=sys.stderr)
    for workload in workloads:
        rows = summarise(workload, results[workload])
        if given.json:
            for row in rows:
                print(json.dumps(_summary(workload, row)))
        else:
            show(workload, rows)
    return 1 if failures else 0


def _peers(names: Sequence[str] | None) -> Sequence[str]:
    """Those that were asked for, which must be installed (else `MissingPeer`); unasked, the first one if it is."""
    for name in names if names is not None else DEFAULT_PEERS:
        try:
            PEERS[name].command([])
        except MissingPeer as error:
            if names is not None:
                raise
            print(f"without a peer: {error}", file=sys.stderr)
            return []
    return names if names is not None else DEFAULT_PEERS


def _summary(workload: str, row: Row) -> dict[str, object]:
    contender = row.contender
    return {
        "summary": workload,
        "engine": contender.engine,
        "mode": contender.mode,
        "durability": contender.durability,
        "rounds": row.rounds,
        "medians": {key: round(value, 3) for key, value in row.medians.items()},
        "ratios": {name: round(value, 3) for name, value in row.ratios.items()},
    }
