"""The public surface through the eyes of two type checkers: what they must accept, what they must refuse, and where."""

import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(180)
HERE = Path(__file__).parent
ROOT = HERE.parents[1]

Reports = Mapping[int, str]


def run(*command: str) -> str:
    """What a checker prints; a checker that fails to check is an error, one that finds faults is not."""
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in {0, 1}, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


def mypy(file: Path) -> Reports:
    """Errors by line, as mypy reports them."""
    reports: dict[int, str] = defaultdict(str)
    for line in run("mypy", "--strict", "--output=json", str(file)).strip().splitlines():
        report = json.loads(line)
        if report["severity"] == "error":
            place = "" if Path(report["file"]).resolve() == file else f"{report['file']}: "
            reports[report["line"] if not place else 0] += f"{place}{report['message']}\n"
    return reports


def pyright(file: Path) -> Reports:
    """Errors by line, as basedpyright reports them."""
    reports: dict[int, str] = defaultdict(str)
    for report in json.loads(run("basedpyright", "--outputjson", str(file)))["generalDiagnostics"]:
        if report["severity"] == "error":
            reports[report["range"]["start"]["line"] + 1] += f"{report['message']}\n"
    return reports


@pytest.fixture(params=[mypy, pyright])
def check(request: pytest.FixtureRequest) -> Callable[[Path], Reports]:
    """One of the checkers."""
    checker: Callable[[Path], Reports] = request.param
    return checker


def test_good_programs_are_accepted(check: Callable[[Path], Reports]) -> None:
    reports = check(HERE / "accepted.py")
    assert not reports, "\n".join(f"line {line}: {text}" for line, text in sorted(reports.items()))


def test_bad_programs_are_rejected(check: Callable[[Path], Reports]) -> None:
    file = HERE / "rejected.py"
    lines = enumerate(file.read_text().splitlines(), 1)
    expected = {number: match[1] for number, line in lines if (match := re.search(r"# E: (.+)$", line))}
    reports = check(file)
    faults = [f"line {line}: nothing was reported, instead of: {text}" for line, text in expected.items() if line not in reports]
    faults += [f"line {line}: not expected: {text}" for line, text in reports.items() if line not in expected]
    for line, text in expected.items():
        if line in reports and text.lower() not in reports[line].lower():
            faults.append(f"line {line}: expected {text!r}, got: {reports[line]}")
    assert len(expected) > 20
    assert not faults, "\n".join(faults)
