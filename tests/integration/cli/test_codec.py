"""Keys on the command line: real processes on a real server."""

import json
import os
from pathlib import Path

import pytest

from aiki.codec import read_key_file
from aiki.transport import EmbeddedNats
from tests.integration.cli.command import Command

PROGRAM = """
from aiki.sdk import Context, workflow

@workflow(name="greet")
async def greet(ctx: Context, name: str) -> str:
    return f"hello {name}"
"""


def test_keys_on_the_command_line(nats: EmbeddedNats, tmp_path: Path) -> None:
    (tmp_path / "greeting.py").write_text(PROGRAM)
    aiki = Command(nats.url, cwd=tmp_path)
    aiki.environment["AIKI_REGION"] = "codec-cli"
    aiki.json("init")
    keys = tmp_path / "keys.json"
    keys.write_text(aiki("codec", "new-key", "--id", "first").stdout)
    keys.chmod(0o600)
    assert read_key_file(keys).active == "first"
    assert aiki.json("codec", "new-key")["keys"]["k1"] != json.loads(keys.read_text())["keys"]["first"]
    with aiki.service("worker", "greeting.py", "--codec-keys", str(keys)):
        run = aiki.json("run", "start", "greet", '"Ann"', "--wait", "--codec-keys", str(keys))
        assert run["output"] == "hello Ann"
    shown = aiki("run", "show", run["id"]).stdout
    assert "sealed    with key first" in shown and "Ann" not in shown and "completed" in shown
    assert aiki.json("run", "show", run["id"])["status"]["sealed_with"] == "first"
    assert aiki.failure("run", "history", run["id"], "--export", "here.json").startswith("aiki: key_missing: ")
    aiki.environment["AIKI_CODEC_KEYS"] = str(keys)
    assert "hello Ann" in aiki("run", "show", run["id"]).stdout
    aiki.environment["AIKI_CODEC_KEYS"] = str(tmp_path / "none.json")
    assert aiki.failure("run", "list").startswith("aiki: definition: ")


@pytest.mark.skipif(os.name != "posix", reason="files have no such permissions elsewhere")
def test_a_file_that_others_may_read_is_told_of(nats: EmbeddedNats, tmp_path: Path) -> None:
    aiki = Command(nats.url, cwd=tmp_path)
    keys = tmp_path / "keys.json"
    keys.write_text(aiki("codec", "new-key").stdout)
    keys.chmod(0o644)
    assert "chmod 600" in aiki("run", "list", "--codec-keys", str(keys)).stderr
