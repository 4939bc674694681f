"""The documentation says what is so: its programs run and print what they say, and its references leave nothing out."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from aiki import actors
from aiki.cli.main import cli
from aiki.sdk import Client
from aiki.transport import EmbeddedNats
from aiki.types import errors
from aiki.types.errors import AikiError
from aiki.types.retry import RetryAfter
from aiki.types.states import STATES

ROOT = Path(__file__).resolve().parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "guides").glob("*.md"))]
REFERENCE = ROOT / "docs" / "reference"
URL = "nats://127.0.0.1:4222"


def program(page: Path) -> tuple[str, str]:
    """The Python blocks of a page as one program, and what the page says it prints."""
    text = page.read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    printed = re.search(r"^<!-- prints -->\n```text\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert blocks
    assert printed is not None
    return "\n".join(blocks), printed.group(1)


def run(code: str, folder: Path, url: str, region: str) -> "subprocess.CompletedProcess[str]":
    (folder / "program.py").write_text(code.replace(URL, url))
    return subprocess.run(
        [sys.executable, "-W", "error", "program.py"],
        cwd=folder,
        env={**os.environ, "AIKI_URL": url, "AIKI_REGION": region},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
async def test_the_program_of_a_page_prints_what_the_page_says(page: Path, nats: EmbeddedNats, tmp_path: Path) -> None:
    code, printed = program(page)
    region = f"docs-{page.stem}".lower()
    async with await Client.connect(nats.url) as client:
        await actors.init(client.transport, region=region)
    done = await asyncio.to_thread(run, code, tmp_path, nats.url, region)
    assert done.returncode == 0, done.stderr
    assert done.stdout == printed


def test_links_lead_somewhere() -> None:
    for page in [*PAGES, *REFERENCE.glob("*.md"), ROOT / "examples" / "README.md"]:
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            assert link.startswith("https://") or (page.parent / link).exists(), f"{page.name}: {link}"


def test_every_error_is_explained_with_its_code() -> None:
    text = (REFERENCE / "errors.md").read_text()
    kinds = [kind for name in errors.__all__ if issubclass(kind := getattr(errors, name), AikiError)]
    assert len(kinds) > 20
    assert [
        kind.__name__ for kind in [*kinds, RetryAfter] if kind is not AikiError and f"**`{kind.__name__}`** (`{kind.code}`)" not in text
    ] == []


def test_every_state_is_explained() -> None:
    text = (REFERENCE / "states.md").read_text()
    assert [state for state in STATES if f"`{state}`" not in text] == []


def commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def test_every_command_and_option_is_explained() -> None:
    text = (REFERENCE / "cli.md").read_text()
    for path, command in commands(cli, "aiki"):
        assert f"`{path}" in text, path
        for option in command.params:
            if isinstance(option, click.Option):
                assert f"`{option.opts[0]}" in text, f"{path} {option.opts[0]}"
