"""The benchmarks' command line still works: one valid line of JSON each. What it says about speed is nobody's business here."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
HEAD = {"w", "engine", "mode", "durability", "workers", "conc", "n", "steps", "load", "python"}
COSTS = {"durable_writes", "durable_writes_per_run", "bytes_written", "cpu_ms_per_run", "pss_mb"}


def benchmark(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "benchmarks", *words], cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)


def figures(*words: str) -> dict[str, Any]:
    done = benchmark(*words)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 1
    answer: dict[str, Any] = json.loads(lines[0])
    return answer


@pytest.mark.parametrize("mode", ["local", "remote"])
def test_throughput(mode: str) -> None:
    line = figures("W1", "--workflows", "10", "--steps", "3", "--mode", mode, "--durability", "fsync")
    assert line.keys() >= HEAD | COSTS | {"secs", "wf_s", "steps_s"}
    assert (line["w"], line["engine"], line["mode"], line["durability"], line["n"]) == ("W1", "aiki", mode, "fsync", 10)
    assert line["durable_writes"] >= 10 * (3 if mode == "local" else 6)


@pytest.mark.parametrize("mode", ["local", "remote"])
def test_crash(mode: str) -> None:
    line = figures("W5", "--runs", "3", "--steps", "4", "--mode", mode)
    assert line.keys() >= HEAD | {"recover_s", "started_more_than_once", "finished_more_than_once", "recorded_at_kill"}
    assert line["recorded_at_kill"] > 0
    assert (line["recorded_more_than_once"], line["never_finished"], line["lost"]) == (0, 0, 0)


def test_sleepers() -> None:
    line = figures("W4", "--sleepers", "20", "--steps", "1")
    assert line.keys() >= HEAD - {"steps"} | {"late_p50_ms", "late_p99_ms", "late_max_ms", "pss_mb", "idle_pss_mb"}
    assert (line["woke"], line["lost"], line["started_too_late"]) == (20, 0, 0)


def test_scale() -> None:
    line = figures("W7", "--runs", "50", "--steps", "1")
    assert line.keys() >= {"server_bytes_per_run", "worker_bytes_per_run", "server_restarted_bytes_per_run", "restart_s"}
    assert (line["woke"], line["lost"], line["woke_more_than_once"]) == (50, 0, 0)


def test_entities() -> None:
    line = figures("entities", "--asks", "200", "--actors", "10", "--lone", "20", "--touched", "50", "--conc", "16")
    assert line.keys() >= {"asks_s", "p50_ms", "p99_ms", "read_p50_ms", "cold_asks_s", "pss_mb", "worker_cpu_us_per_ask", "load"}
    assert line["pss_mb"] < 200


def test_messages() -> None:
    line = figures("messages", "--lone", "20", "--children", "5", "--width", "10", "--events", "100", "--conc", "8")
    assert line.keys() >= {
        "event_p50_ms",
        "event_p99_ms",
        "child_p50_ms",
        "cancel_ms",
        "events_s",
        "query_p50_ms",
        "update_p50_ms",
        "other_p50_ms",
    }


def test_schedules() -> None:
    line = figures("schedules", "--schedules", "20", "--every", "2", "--firings", "1")
    assert (line["firings"], line["missed"], line["twice"]) == (20, 0, 0)
    assert line.keys() >= {"late_p50_ms", "late_p99_ms", "timer_cpu_us_per_firing"}


def test_fairness() -> None:
    line = figures("fairness", "--queued", "5000", "--singles", "3")
    assert line["queued"] == 5000
    assert line["delay_max_ms"] < 1000


def test_an_unknown_workload_is_refused_with_the_ones_there_are() -> None:
    done = benchmark("W9")
    assert done.returncode == 2
    assert "there is no workload 'W9'" in done.stderr
    assert "W1 (throughput)" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_peer_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PEERS_HOME", str(tmp_path))
    done = benchmark("W1", "--engine", "restate")
    assert done.returncode == 2
    assert "python -m benchmarks peers install restate" in done.stderr
    assert "Traceback" not in done.stderr
