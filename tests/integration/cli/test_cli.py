"""The command line: real processes on a real server."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.integration.cli.command import Command, Service

ORDER = '{"id": "o1", "amount": 1200, "items": ["book"]}'


@pytest.fixture(scope="module")
def dev() -> Iterator[Service]:
    with Command("nats://127.0.0.1:1").service("dev", "examples.orders", "--port", "0") as service:
        yield service
        assert service.stop(signal.SIGINT) == 0


@pytest.fixture(scope="module")
def aiki(dev: Service) -> Command:
    return Command(dev.announced["url"])


def start(aiki: Command, *arguments: str) -> str:
    done = aiki("run", "start", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_run_from_its_start_to_its_history(aiki: Command) -> None:
    run_id = start(aiki, "order", ORDER, "--key", "first")
    assert start(aiki, "order", ORDER, "--key", "first") == run_id
    watched = aiki("run", "watch", run_id)
    assert watched.returncode == 0, watched.stderr
    assert f"run {run_id} completed" in watched.stdout.splitlines()
    shown = aiki("run", "show", run_id).stdout
    assert "state     completed" in shown
    assert [name for name in ("validate", "charge", "ship") if name not in shown] == []
    document = aiki.json("run", "show", run_id)
    assert document["status"]["state"] == "completed"
    assert document["output"]["tracking"] == "parcel of 1 for o1"
    assert [(step["name"], step["attempts"]) for step in document["steps"]] == [("validate", 1), ("charge", 2), ("ship", 1)]
    history = aiki.json("run", "history", run_id)
    assert [entry.get("name", entry["entry"]) for entry in history] == ["validate", "charge", "tick", "ship"]
    assert len(aiki("run", "history", run_id).stdout.splitlines()) == 1 + len(history)
    assert run_id in aiki("run", "list").stdout
    assert run_id in {each["id"] for each in aiki.json("run", "list", "--workflow", "order", "--state", "completed")}
    assert run_id not in {each["id"] for each in aiki.json("run", "list", "--state", "failed")}


def test_a_recorded_run_is_replayed_against_changed_code(aiki: Command, tmp_path: Path) -> None:
    run_id = start(aiki, "order", ORDER, "--key", "recorded")
    assert aiki("run", "watch", run_id).returncode == 0
    file = tmp_path / "history.json"
    assert aiki.json("run", "history", run_id, "--export", str(file)) == {"run": run_id, "file": str(file)}
    (fits,) = aiki.json("replay", "examples.orders", str(file))
    assert (fits["run"], fits["fits"], fits["state"]) == (run_id, True, "completed")
    code = (Path(__file__).resolve().parents[3] / "examples" / "orders.py").read_text()
    assert code.count("validate.run(ctx, order)") == 1
    changed = tmp_path / "changed.py"
    changed.write_text(code.replace("validate.run(ctx, order)", 'validate.run(ctx, Order("other", 1))'))
    done = aiki("replay", str(changed), str(file), str(file), "--json")
    assert done.returncode == 1
    assert [each["code"] for each in msgspec.json.decode(done.stdout)] == ["non_determinism"] * 2
    table = aiki("replay", str(changed), str(file))
    assert table.returncode == 1
    assert "non_determinism" in table.stdout
    file.write_text("{}")
    assert aiki.failure("replay", "examples.orders", str(file)).startswith("aiki: payload: ")
    assert aiki.failure("run", "history", run_id, "--export", str(tmp_path / "no" / "file")).startswith("aiki: definition: ")


def test_payloads_from_standard_input_and_files(aiki: Command, tmp_path: Path) -> None:
    waited = aiki("run", "start", "order", "-", "--wait", "--json", stdin=ORDER)
    assert waited.returncode == 0, waited.stderr
    assert msgspec.json.decode(waited.stdout)["output"]["order_id"] == "o1"
    (tmp_path / "order.json").write_text('{"id": "o1", "amount": 0}')
    line = aiki("run", "start", "order", f"@{tmp_path / 'order.json'}", "--wait")
    assert line.returncode == 1
    assert line.stderr.splitlines()[-1].startswith("aiki: workflow_failed: ")
    assert aiki.failure("run", "start", "order", "@nowhere.json").startswith("aiki: payload: ")
    assert aiki.failure("run", "start", "order", "{").startswith("aiki: payload: ")


def test_a_failed_run_is_watched_with_status_1_as_json_lines(aiki: Command) -> None:
    run_id = start(aiki, "order", '{"id": "o1", "amount": 0}')
    watched = aiki("run", "watch", run_id, "--json")
    assert watched.returncode == 1
    views = [msgspec.json.decode(line) for line in watched.stdout.splitlines()]
    assert views[-1]["status"]["state"] == "failed"
    assert [view["revision"] for view in views] == sorted({view["revision"] for view in views})


def test_who_is_there(aiki: Command) -> None:
    (worker,) = aiki.json("worker", "list")
    assert worker["workflows"] == [{"name": "order", "version": "1.0.0"}]
    assert worker["id"] in aiki("worker", "list").stdout


def test_doctor(aiki: Command) -> None:
    findings = {finding["check"]: finding for finding in aiki.json("doctor")}
    assert findings["durability"]["level"] == "warn"
    assert "sync_interval" in findings["durability"]["finding"]
    assert {"server", "clocks", "workers", "max_payload", "stream AIKI_MAIL_default"} <= set(findings)
    assert not [finding for finding in findings.values() if finding["level"] == "FAIL"]


def test_init_tells_what_was_there(aiki: Command) -> None:
    assert set(aiki.json("init")["streams"].values()) == {"unchanged"}
    assert set(aiki.json("init", "--region", "mars")["streams"].values()) == {"created"}
    missing = aiki("doctor", "--region", "venus")
    assert missing.returncode == 1
    assert "aiki init --region venus" in missing.stdout


@pytest.mark.parametrize(
    ("arguments", "begin"),
    [
        (("run", "show", "nowhere"), "aiki: run_not_found: "),
        (("run", "watch", "nowhere"), "aiki: run_not_found: "),
        (("run", "history", "nowhere"), "aiki: run_not_found: "),
        (
            ("run", "start", "order", "--at", "soon"),
            "aiki: definition: --at takes an instant such as 2030-01-31T09:00:00+01:00, not 'soon'",
        ),
        (("run", "start", "order", "--at", "2030-01-01T00:00:00", "--after", "1"), "aiki: definition: --at and --after exclude each other"),
        (("run", "start", "nothing"), "aiki: unknown_workflow: no live worker serves workflow 'nothing'; live workers serve: order 1.0.0"),
        (("worker", "no.such.module"), "aiki: definition: 'no.such.module' cannot be imported"),
        (("worker", "examples.orders:nothing"), "aiki: definition: "),
        (("worker", "aiki.types.names"), "aiki: definition: "),
        (("worker", "nowhere.py"), "aiki: definition: there is no file"),
        (("worker", "examples.orders", "--region", "pluto"), "aiki: stream_missing: "),
        (("run", "list", "--url", "nats://127.0.0.1:1"), "aiki: not_connected: "),
    ],
)
def test_errors_are_one_line(aiki: Command, arguments: tuple[str, ...], begin: str) -> None:
    assert aiki.failure(*arguments).startswith(begin)


def test_a_conflict_of_keys_is_an_error_unless_wanted_otherwise(aiki: Command) -> None:
    run_id = start(aiki, "order", ORDER, "--key", "twice")
    other = '{"id": "o2", "amount": 1}'
    assert aiki.failure("run", "start", "order", other, "--key", "twice").startswith("aiki: idempotency_conflict: ")
    assert start(aiki, "order", other, "--key", "twice", "--on-conflict", "return_existing") == run_id


def test_debug_shows_the_traceback(aiki: Command) -> None:
    done = aiki("run", "show", "nowhere", "--debug")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_a_taken_port_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert f"port {port} is taken" in Command("nats://127.0.0.1:1").failure("dev", "--port", port)


def test_a_worker_that_is_told_to_stop_leaves_its_work_to_others(tmp_path: Path) -> None:
    """The store is kept, a run waits in its queue without a worker, one worker begins it, is stopped, and another ends it."""
    store = str(tmp_path / "store")
    with Command("nats://127.0.0.1:1").service("dev", "--port", "0", "--store", store) as first:
        aiki = Command(first.announced["url"])
        run_id = start(aiki, "order", ORDER, "--version", "1.0.0")
        assert [each["state"] for each in aiki.json("run", "list")] == ["queued"]
        assert aiki.json("run", "history", run_id) == []
        with aiki.service("worker", "examples/orders.py", "--id", "one") as one:
            assert one.announced["worker"] == "one"
            assert [worker["id"] for worker in aiki.json("worker", "list")] == ["one"]
            assert one.stop() == 0
        assert aiki.json("worker", "list") == []
        assert first.stop() == 0
    with Command("nats://127.0.0.1:1").service("dev", "examples.orders", "--port", "0", "--store", store) as second:
        watched = Command(second.announced["url"])("run", "watch", run_id)
        assert watched.returncode == 0, watched.stderr
        assert second.stop() == 0


SLOW = """
from aiki.sdk import Context, task, workflow

@task(name="slow")
def slow(fifo: str) -> str:
    with open(fifo) as wait:
        return wait.read()

@workflow(name="patient")
async def patient(ctx: Context, fifo: str) -> str:
    return await slow.run(ctx, fifo)
"""


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_body_at_work_is_given_its_grace(aiki: Command, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    (tmp_path / "slow.py").write_text(SLOW)
    with Command(aiki.url, tmp_path).service("worker", "slow.py", "--id", "slow-1") as worker:
        run_id = start(aiki, "patient", f'"{fifo}"', "--version", "1.0.0")
        with fifo.open("w") as go:  # opens when the body has begun
            worker.process.send_signal(signal.SIGTERM)
            go.write("done in time")
        assert worker.process.wait(timeout=30) == 0
    (step,) = aiki.json("run", "show", run_id)["steps"]
    assert (step["state"], step["worker"], step["output"]) == ("completed", "slow-1", "done in time")


def test_version_and_help() -> None:
    aiki = Command("nats://127.0.0.1:1")
    assert aiki("--version").stdout == "aiki, version 0.1.0\n"
    for arguments in ((), ("run",), ("worker",), ("dev",)):
        assert aiki(*arguments, "--help").stdout.startswith("Usage: aiki")


def test_importing_the_sdk_and_the_command_stays_light() -> None:
    """What is heavy is not imported before it is needed."""
    program = "import sys, aiki.sdk, aiki.cli.main; print(*sys.modules)"
    assert not set(python(program).split()) & {"nats", "pydantic", "rich", "uvloop"}
    timed = "import time; began = time.process_time(); import aiki.sdk; print(time.process_time() - began)"
    assert min(float(python(timed)) for _ in range(5)) < 0.4


def python(program: str) -> str:
    return subprocess.run((sys.executable, "-c", program), capture_output=True, text=True, check=True).stdout
