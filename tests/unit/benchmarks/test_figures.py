"""The figures that are computed rather than measured."""

from pathlib import Path

import pytest

from benchmarks.contender import ours, peer
from benchmarks.engine import Step
from benchmarks.percentile import percentile
from benchmarks.steplog import Event, StepLog
from benchmarks.summary import COLUMNS, summarise
from benchmarks.workloads.crash import repeated, run_again
from benchmarks.workloads.registry import WORKLOADS

EVENTS = [
    Event("S", "a", 0, 10),
    Event("E", "a", 0, 20),
    Event("S", "a", 1, 30),
    Event("S", "a", 0, 90),
    Event("S", "a", 1, 95),
]


def test_a_step_that_begins_after_its_result_was_seen_has_run_again() -> None:
    assert run_again(EVENTS, {Step("a", 0)}, recorded_at=50) == 1


def test_a_step_that_was_not_recorded_may_begin_again() -> None:
    assert run_again(EVENTS, set(), recorded_at=50) == 0
    assert run_again(EVENTS, {Step("a", 0)}, recorded_at=91) == 0


def test_repeated_counts_steps_not_events() -> None:
    assert repeated([*EVENTS, Event("S", "a", 0, 99)], "S") == 2
    assert repeated(EVENTS, "E") == 0


def test_a_percentile_is_a_value_that_was_measured() -> None:
    samples = [float(each) for each in range(1, 101)]
    assert (percentile(samples, 50), percentile(samples, 99), percentile([7.0], 99)) == (50.0, 99.0, 7.0)


def test_a_log_line_that_a_kill_cut_short_is_left_out(tmp_path: Path) -> None:
    log = StepLog(tmp_path / "steps")
    log.write("S", "a", 0)
    log.write("E", "a", 0)
    with (tmp_path / "steps").open("a") as file:
        file.write("S a")
    assert [(event.kind, event.label, event.step) for event in log.events()] == [("S", "a", 0), ("E", "a", 0)]


@pytest.mark.parametrize(("workload", "key", "own", "theirs"), [("W1", "wf_s", 300.0, 100.0), ("W2", "p50_ms", 2.0, 6.0)])
def test_ratios_above_one_are_better_whichever_way_the_figure_goes(workload: str, key: str, own: float, theirs: float) -> None:
    us, them = ours("local", "fsync"), peer("restate")
    rows = summarise(workload, {them: [{key: theirs}], us: [{key: own}, {key: own}, {key: 1e9}]})
    assert [row.ratios for row in rows] == [{}, {"restate": pytest.approx(3.0)}]
    assert rows[1].medians[key] == own


def test_one_bad_round_is_not_hidden_by_a_median() -> None:
    rounds = [{"recover_s": 1.0, "lost": 0}, {"recover_s": 3.0, "lost": 1}, {"recover_s": 2.0, "lost": 0}]
    assert summarise("W5", {ours("local", "os"): rounds})[0].medians == {"recover_s": 2.0, "lost": 1.0}


def test_every_workload_has_columns() -> None:
    assert COLUMNS.keys() == WORKLOADS.keys()
