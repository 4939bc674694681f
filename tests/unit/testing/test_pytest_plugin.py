"""The pytest plugin, in a pytest of its own, as a user has it."""

import subprocess
import sys
from pathlib import Path

import pytest

INI = "[pytest]\nasyncio_mode = {}\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"

PROJECT = """
from datetime import timedelta

import pytest

from aiki.sdk import Context, WorkflowFailed, task, workflow
from aiki.testing import TestEnvironment


@task(name="greet")
async def greet(name: str) -> str:
    return f"hello {name}"


@workflow(name="patient")
async def patient(ctx: Context, name: str) -> str:
    await ctx.sleep(timedelta(days=365))
    return await greet.run(ctx, name)


seen = []


@workflow(name="forgetful")
async def forgetful(ctx: Context) -> None:
    seen.append(None)
    await greet.run(ctx, str(len(seen)))
"""

TESTS = """
@MARK
async def test_memory(aiki: TestEnvironment) -> None:
    await aiki.worker(patient, greet)
    assert await aiki.run(patient, "you") == "hello you"


@MARK
@pytest.mark.aiki(always_replay=True)
async def test_marker(aiki: TestEnvironment) -> None:
    await aiki.worker(forgetful, greet)
    with pytest.raises(WorkflowFailed, match="other steps than before"):
        await aiki.run(forgetful)


@MARK
async def test_nats(aiki_nats: TestEnvironment) -> None:
    await aiki_nats.worker(forgetful, greet)
    await aiki_nats.run(forgetful, timeout=20)


def test_plain() -> None:
    pass
"""


def run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--strict-markers", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=50, check=False)


@pytest.mark.parametrize(("mode", "mark"), [("auto", ""), ("strict", "@pytest.mark.asyncio")])
def test_both_modes(tmp_path: Path, mode: str, mark: str) -> None:
    (tmp_path / "pytest.ini").write_text(INI.format(mode))
    (tmp_path / "test_it.py").write_text(PROJECT + TESTS.replace("@MARK\n", f"{mark}\n" if mark else ""))
    done = run(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout


def test_a_test_that_would_wait_for_ever_fails_and_the_next_one_runs(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text(INI.format("auto"))
    tests = """
async def test_stuck(aiki: TestEnvironment) -> None:
    await aiki.worker(patient)
    await aiki.run(patient, "you")


async def test_next(aiki: TestEnvironment) -> None:
    await aiki.worker(patient, greet)
    assert await aiki.run(patient, "you") == "hello you"
"""
    (tmp_path / "test_it.py").write_text(PROJECT + tests)
    done = run(tmp_path)
    assert "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "awaiting_task of greet" in done.stdout


def test_other_tests_notice_nothing(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import sys\n\n\ndef test_plain():\n    loaded = [name for name in sys.modules if name.split('.')[0] == 'aiki']\n"
        "    assert sorted(loaded) == ['aiki', 'aiki.testing', 'aiki.testing.pytest_plugin']\n    assert 'msgspec' not in sys.modules\n"
    )
    done = run(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_without_pytest_asyncio_it_still_loads(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def test_plain():\n    pass\n")
    (tmp_path / "pytest_asyncio.py").write_text("raise ImportError\n")
    done = run(tmp_path, "-p", "no:asyncio")
    assert done.returncode == 0, done.stdout + done.stderr
