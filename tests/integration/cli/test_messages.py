"""What one can say to runs and queues from the command line."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cli.command import Command, Service


@pytest.fixture(scope="module")
def dev() -> Iterator[Service]:
    with Command("nats://127.0.0.1:1").service("dev", "tests.integration.cli.talking", "--port", "0") as service:
        yield service
        assert service.stop(signal.SIGINT) == 0


@pytest.fixture(scope="module")
def aiki(dev: Service) -> Command:
    return Command(dev.announced["url"])


def start(aiki: Command, workflow: str, key: str) -> str:
    found: str = aiki.json("run", "start", workflow, '"paper"', "--key", key)["id"]
    return found


def until(aiki: Command, run_id: str, state: str) -> Any:
    """The run, once it is in that state; each look is a process, so there is no hurry."""
    view: Any = None
    for _ in range(40):
        view = aiki.json("run", "show", run_id)
        if view["status"]["state"] == state:
            return view
    raise AssertionError((state, view))


def test_events_updates_and_queries(aiki: Command, tmp_path: Path) -> None:
    run_id = start(aiki, "approval", "talk")
    key = ("--key", "talk", "--workflow", "approval")
    view = until(aiki, run_id, "awaiting_event")
    assert [(wait["kind"], wait["name"], wait["wakes"]) for wait in view["waits"]] == [("event", "approved", "an event approved")]
    assert view["worker"]
    assert aiki.json("run", "update", run_id, "note", '"read it"', "--idempotency-key", "1") == 1
    assert aiki.json("run", "update", *key, "note", '"read it"', "--idempotency-key", "1", "--timeout", "20") == 1
    assert aiki.failure("run", "update", run_id, "note", '""').startswith("aiki: update_failed: ")
    assert aiki.json("run", "query", *key, "notes") == ["read it"]
    assert aiki.failure("run", "query", run_id, "nope").startswith("aiki: query_failed: ")
    assert aiki.failure("run", "send", run_id, "refused", '"x"').startswith("aiki: unknown_event: ")
    file = tmp_path / "who.json"
    file.write_text('"Ada"')
    assert aiki.json("run", "send", *key, "approved", f"@{file}", "--idempotency-key", "a") == {"id": run_id, "done": "sent"}
    assert until(aiki, run_id, "completed")["output"] == ["paper", "Ada", "read it"]
    assert aiki.failure("run", "send", run_id, "approved", '"late"').startswith("aiki: run_ended: ")
    history = aiki.json("run", "history", *key)
    assert [entry["entry"] for entry in history] == ["update", "update", "event"]
    assert history[-1]["payload"] == "Ada"
    shown = aiki("run", "show", *key).stdout
    assert "approved" in shown
    assert '"Ada"' in shown
    assert "read it" in aiki("run", "history", run_id).stdout
    exported = tmp_path / "history.json"
    aiki.json("run", "history", run_id, "--export", str(exported))
    (replayed,) = aiki.json("replay", "tests.integration.cli.talking", str(exported))
    assert (replayed["fits"], replayed["state"]) == (True, "completed")


def test_pause_resume_wake_and_cancel(aiki: Command) -> None:
    run_id = start(aiki, "parent", "p")
    view = until(aiki, run_id, "sleeping")
    assert [(wait["kind"], wait["wakes"]) for wait in view["waits"]] == [("timer", "its alarm, or `wake`")]
    assert aiki.json("run", "pause", run_id, "--reason", "lunch") == {"id": run_id, "done": "paused"}
    view = until(aiki, run_id, "paused")
    assert view["status"]["waiting_on"] == ["its pause to end: lunch"]
    assert aiki.json("run", "resume", "--key", "p", "--workflow", "parent") == {"id": run_id, "done": "resumed"}
    assert aiki.json("run", "resume", run_id)["done"] == "resumed"  # once more: nothing happens
    until(aiki, run_id, "sleeping")
    aiki.json("queue", "pause", "slow", "--reason", "lunch, too")
    aiki.json("run", "wake", "--key", "p", "--workflow", "parent")
    until(aiki, run_id, "awaiting_task")
    (slow,) = [each for each in aiki.json("queue", "list") if each["name"] == "slow"]
    assert (slow["paused"], slow["reason"], slow["tasks"]) == (True, "lunch, too", [{"task": "work", "waiting": 1, "running": 0}])
    assert "lunch, too" in aiki("queue", "list").stdout
    assert aiki.json("queue", "resume", "slow") == {"queue": "slow", "paused": False}
    view = until(aiki, run_id, "awaiting_child")
    (child,) = aiki.json("run", "show", run_id, "--tree")["children"]
    assert (child["workflow"], child["state"], child["id"]) == ("approval", "awaiting_event", view["waits"][0]["run_id"])
    assert f"approval {child['id']} awaiting_event" in aiki("run", "show", run_id, "--tree").stdout
    assert aiki.json("run", "show", child["id"])["parent"] == run_id
    aiki.json("run", "cancel-task", run_id, "nothing of that name")
    assert aiki.json("run", "cancel", run_id, "--reason", "enough")["done"] == "cancelled"
    assert until(aiki, run_id, "cancelled")["status"]["error"]["message"] == "enough"
    until(aiki, child["id"], "cancelled")
    entries = [entry["entry"] for entry in aiki.json("run", "history", run_id) if entry["entry"] != "step"]
    assert entries == ["paused", "resumed", "ignored", "woken", "ignored", "cancelled"]
    assert aiki.failure("run", "cancel", run_id).startswith("aiki: run_ended: ")


def test_reset_and_fork(aiki: Command) -> None:
    run_id = start(aiki, "drafts", "reset")
    key = ("--key", "reset", "--workflow", "drafts")
    until(aiki, run_id, "awaiting_event")
    aiki.json("run", "send", *key, "approved", '"Ada"')
    assert until(aiki, run_id, "completed")["output"] == ["PAPER", "Ada", 0]
    assert aiki.failure("run", "fork", run_id, "--to-step", "nope").startswith("aiki: step_not_found: ")
    assert aiki.failure("run", "reset", run_id, "--to-step", "nope").startswith("aiki: step_not_found: ")
    assert aiki.json("run", "reset", run_id, "--to-step", "write", "--reason", "again") == {"id": run_id, "done": "reset"}
    assert until(aiki, run_id, "completed")["output"] == ["PAPER", "Ada", 0]
    assert [entry["entry"] for entry in aiki.json("run", "history", run_id)] == ["reset", "event", "step"]
    forked = aiki.json("run", "fork", *key, "--to-step", "write", "--input", '"cloth"', "--idempotency-key", "other")
    assert forked["forked_from"] == run_id
    assert until(aiki, forked["id"], "completed")["output"] == ["CLOTH", "Ada", 0]  # the event had come before the step ended


def test_many_by_ids_and_by_filter(aiki: Command) -> None:
    ids = [start(aiki, "approval", f"many-{number}") for number in range(3)]
    for run_id in ids:
        until(aiki, run_id, "awaiting_event")
    done = aiki("run", "pause", ids[0], "c" * 26, "--json")
    assert done.returncode == 1
    assert '"run_not_found"' in done.stdout
    refused = aiki("run", "terminate", "--all", "--workflow", "approval", stdin="n\n")
    assert refused.returncode == 1
    assert "terminate all unfinished runs of workflow approval" in refused.stderr
    until(aiki, ids[0], "paused")
    report = aiki.json("run", "resume", "--all", "--workflow", "approval", "--yes")
    assert report == [{"id": ids[0], "done": "resumed"}]
    report = aiki.json("run", "terminate", "--all", "--workflow", "approval", "--yes", "--reason", "the end")
    assert sorted(each["id"] for each in report) == sorted(ids)
    for run_id in ids:
        until(aiki, run_id, "cancelled")
    assert aiki("run", "cancel", "--all", "--workflow", "approval", "--yes").stdout == "no such runs were found\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("cancel",),
        ("cancel", "--key", "k"),
        ("cancel", "--workflow", "w"),
        ("cancel", "--all"),
        ("cancel", "--state", "running"),
        ("cancel", "c" * 26, "--all", "--workflow", "w"),
        ("send", "c" * 26),
        ("send", "--key", "k", "--workflow", "w"),
        ("send", "--all", "--workflow", "w", "a", "b", "c"),
        ("query", "c" * 26),
        ("show",),
        ("history", "c" * 26, "--key", "k", "--workflow", "w"),
    ],
    ids=" ".join,
)
def test_commands_that_do_not_say_which_run_are_refused(aiki: Command, arguments: tuple[str, ...]) -> None:
    done = aiki("run", *arguments)
    assert done.returncode == 2, done.stderr
    assert "Error: " in done.stderr
