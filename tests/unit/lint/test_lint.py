"""The linter finds each planted fault, and nothing else: not in the planted file, not in the examples."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from aiki.lint import RULES, Finding, lint_paths, lint_source

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
PLANTED = HERE / "planted.py.txt"

HEAD = "import time\nfrom aiki.sdk import Context, workflow\n\n@workflow(name='w')\nasync def flow(ctx: Context) -> None:\n"


def test_each_planted_fault_is_found_and_nothing_else() -> None:
    text = PLANTED.read_text()
    planted = {
        (number, rule)
        for number, line in enumerate(text.splitlines(), 1)
        if (mark := re.search(r"# found: ([\w, -]+)$", line)) and number > 1
        for rule in mark[1].split(", ")
    }
    found = {(finding.line, finding.rule) for finding in lint_source(text, "planted.py")}
    assert found == planted
    assert {rule for _, rule in planted} == set(RULES) - {"syntax"}


def test_nothing_is_found_in_the_examples() -> None:
    assert lint_paths([ROOT / "examples"]) == []


def test_in_the_programs_of_the_guides_nothing_is_found_but_what_they_show_to_be_wrong() -> None:
    meant = {"determinism.md": ["network"], "testing.md": ["globals"]}
    for page in [ROOT / "README.md", *(ROOT / "docs" / "guides").glob("*.md")]:
        code = "\n".join(re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE))
        rules = [finding.rule for finding in lint_source(code, page.name)]
        assert rules == meant.get(page.name, []), page.name


def test_a_finding_says_where_what_and_what_instead() -> None:
    (finding,) = lint_source(HEAD + "    print(time.time())\n", "flow.py")
    assert finding == Finding("flow.py", 6, 11, "clock", "time.time()", "a replay sees another time", "use ctx.now()", "flow")
    assert finding.message == "time.time(): a replay sees another time; use ctx.now() (in flow)"
    assert finding.annotation().startswith("::error file=flow.py,line=6,col=11,title=aiki lint%3A clock::time.time(): a replay")


def test_the_way_to_a_helper_is_told() -> None:
    (finding,) = lint_source(HEAD + "    helper()\n\ndef helper():\n    time.time()\n", "flow.py")
    assert finding.workflow == "flow → helper"


def test_what_is_no_python_is_a_finding() -> None:
    (finding,) = lint_source("def f(:\n", "broken.py")
    assert (finding.rule, finding.line) == ("syntax", 1)


@pytest.mark.parametrize("text", ["", "import time\ntime.time()\n", "x = {1, 2}\nfor y in x: pass\n", "from aiki.sdk import *\n"])
def test_without_workflows_there_is_nothing_to_find(text: str) -> None:
    assert lint_source(text, "plain.py") == []


def lint(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "aiki.cli", "lint", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)


def test_the_command(tmp_path: Path) -> None:
    folder = tmp_path / "flows"
    folder.mkdir()
    file = folder / "flow.py"
    file.write_text("raise SystemExit('imported')\n" + HEAD + "    time.time()\n")
    (folder / "other.txt").write_text("time.time()")
    done = lint(str(folder))
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout == f"{file}:7:5: clock: time.time(): a replay sees another time; use ctx.now() (in flow)\n"
    (document,) = json.loads(lint("--json", str(file)).stdout)
    assert (document["rule"], document["line"], document["column"]) == ("clock", 7, 5)
    assert lint("--format", "github", str(file)).stdout.startswith(f"::error file={file},line=7,col=5,title=")
    file.write_text(HEAD + "    ctx.now()\n")
    done = lint(str(folder))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert lint(str(tmp_path / "none")).returncode == 2


def test_the_hook_for_pre_commit_names_the_command() -> None:
    hook = (ROOT / ".pre-commit-hooks.yaml").read_text()
    assert "id: aiki-lint" in hook
    assert "entry: aiki lint\n" in hook
