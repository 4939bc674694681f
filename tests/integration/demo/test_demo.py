"""The demonstration, as `make demo` runs it, in a pipe."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from examples.demo.proof import Body, Proof

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.timeout(60)
def test_the_demonstration_proves_what_it_says() -> None:
    done = subprocess.run([sys.executable, "-m", "examples.demo"], cwd=ROOT, capture_output=True, text=True, timeout=58, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "PROOF HOLDS: no recorded task ran again"
    killed = re.search(r"SIGKILL for worker-1 .*: (\d+) of (\d+) are recorded", done.stdout)
    assert killed is not None
    recorded, total = map(int, killed.groups())
    assert total / 2 <= recorded < total
    verified = [line for line in lines if line.startswith("verify ")]
    assert len(verified) == total
    assert sum("worker-1" in line for line in verified) == recorded
    assert sum("worker-2" in line for line in verified) == total - recorded


def test_a_recorded_task_that_ran_again_is_found() -> None:
    first, again, other = Body("a", 1, 1.0), Body("a", 2, 9.0), Body("b", 2, 9.0)
    proof = Proof(frozenset("a"), (first, again, other), killed_pid=1, killed_at=5.0)
    assert proof.violations == [again]
    assert proof.repeated == ["a"]
    assert not Proof(frozenset("a"), (first, other), killed_pid=1, killed_at=5.0).violations
