"""Each error has a page, which comes with the command."""

import re

import pytest
from click.testing import CliRunner

from aiki.cli.explain import PAGES
from aiki.cli.main import cli
from aiki.types import errors
from aiki.types.errors import AikiError
from aiki.types.retry import RetryAfter
from tests.unit.docs.test_features import ROOT

FOLDER = ROOT / "docs" / "reference" / "errors"
KINDS = {kind.code: kind for kind in (RetryAfter, *(getattr(errors, name) for name in errors.__all__))}


def test_every_error_has_a_page_and_every_page_an_error() -> None:
    assert len(KINDS) == len(errors.__all__) + 1, "codes are not shared"
    assert {page.stem for page in FOLDER.glob("*.md")} - {"README"} == set(KINDS)
    assert sorted(page.name for page in PAGES.glob("*.md")) == sorted(page.name for page in FOLDER.glob("*.md"))
    index = (FOLDER / "README.md").read_text()
    assert [code for code, kind in KINDS.items() if f"| [`{code}`]({code}.md) | `{kind.__name__}` |" not in index] == []


@pytest.mark.parametrize("code", sorted(KINDS))
def test_a_page_says_what_it_means_how_it_comes_about_and_what_to_do(code: str) -> None:
    kind, text = KINDS[code], (FOLDER / f"{code}.md").read_text()
    lines = text.splitlines()
    assert lines[0] == f"# `{kind.__name__}`"
    assert lines[2].startswith(f"Code `{code}`")
    parent = kind.__mro__[1]
    assert (f"a kind of [`{parent.__name__}`]({getattr(parent, 'code', '')}.md)" in lines[2]) == issubclass(parent, AikiError), lines[2]
    assert [line for line in lines if line.startswith("## ")] == ["## How it comes about", "## What to do", "## For example"]
    parts = re.split(r"^## .*$", text, flags=re.MULTILINE)
    assert all(len(part.strip()) > 20 for part in parts)
    example = re.search(r"^```text\n(.+?)\n```$", text, re.MULTILINE | re.DOTALL)
    assert example is not None
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert (FOLDER / link).exists(), link


def test_the_command_prints_a_page() -> None:
    runner = CliRunner()
    page = (FOLDER / "run_not_found.md").read_text()
    assert runner.invoke(cli, ["explain", "run_not_found"]).output == page
    listed = runner.invoke(cli, ["explain"]).output.splitlines()
    assert [line.split() for line in listed] == [[code, KINDS[code].__name__] for code in sorted(KINDS)]
    unknown = runner.invoke(cli, ["explain", "run_not_fund"])
    assert unknown.exit_code == 1
    assert unknown.stderr.startswith("aiki: definition: there is no error with the code 'run_not_fund': perhaps run_not_found")
    assert '"code":"run_not_found"' in runner.invoke(cli, ["explain", "run_not_found", "--json"]).output
