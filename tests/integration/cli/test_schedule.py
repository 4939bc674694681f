"""`aiki schedule` and `aiki timer`: real processes on a real server."""

from collections.abc import Iterator
from datetime import datetime

import pytest

from aiki.transport import EmbeddedNats
from tests.integration.cli.command import Command, Service

ORDER = '{"id": "o1", "amount": 1200, "items": ["book"]}'


@pytest.fixture(scope="module")
def dev() -> Iterator[Service]:
    with Command("nats://127.0.0.1:1").service("dev", "examples.orders", "--port", "0") as service:
        yield service
        assert service.stop() == 0


@pytest.fixture(scope="module")
def aiki(dev: Service) -> Command:
    command = Command(dev.announced["url"])
    command.environment["TZ"] = "Asia/Kathmandu"
    return command


def test_a_schedule_from_its_creation_to_its_deletion(aiki: Command) -> None:
    rule = ("--cron", "0 9 * * mon", "--timezone", "Europe/Berlin", "--overlap", "buffer_one", "--catch-up", "2h", "--jitter", "90s")
    made = aiki.json("schedule", "create", "weekly", "order", ORDER, *rule)
    assert (made["state"], made["jitter"], made["catch_up"], len(made["next"])) == ("active", 90.0, 7200.0, 10)
    assert aiki.json("schedule", "create", "weekly", "order", ORDER, *rule)["created_at"] == made["created_at"]
    assert aiki.failure("schedule", "create", "weekly", "order", ORDER, "--every", "1h").startswith("aiki: schedule_conflict: ")
    aiki.json("schedule", "create", "weekly", "order", ORDER, "--every", "1h", "--on-conflict", "return_existing")
    run = aiki.json("schedule", "trigger", "weekly")
    assert aiki("run", "watch", run["id"]).returncode == 0
    listed = aiki("schedule", "list").stdout
    assert "0 9 * * mon (Europe/Berlin)" in listed
    assert listed.count("+0545") == 2, "the next and the last firing, in the user's time zone"
    (row,) = aiki.json("schedule", "list")
    assert datetime.fromisoformat(row["next"][0]) > datetime.fromisoformat(made["created_at"])
    assert aiki("schedule", "pause", "weekly", "--reason", "holidays").returncode == 0
    shown = aiki("schedule", "show", "weekly").stdout
    assert [text for text in ("paused (holidays)", "triggered", run["id"], "if resumed, next") if text not in shown] == []
    assert aiki.json("schedule", "resume", "weekly")["state"] == "active"
    assert aiki.json("schedule", "backfill", "weekly", "2025-01-01", "2025-01-31") == {"id": "weekly", "runs": 4}
    revision = str(aiki.json("schedule", "show", "weekly")["revision"])
    updated = aiki.json("schedule", "update", "weekly", "--every", "1s", "--max-firings", "1", "--payload", ORDER, "--revision", revision)
    assert (updated["interval"], updated["revision"]) == (1.0, int(revision) + 1)
    assert aiki.failure("schedule", "update", "weekly", "--payload", "{}", "--revision", revision).startswith("aiki: schedule_conflict: ")
    refused = aiki.failure("schedule", "backfill", "weekly", "2010-01-01", "2020-01-01")
    assert refused.startswith("aiki: backfill_too_large: ")
    assert "315,532,801 runs" in refused
    assert aiki.json("schedule", "delete", "weekly") == {"id": "weekly", "deleted": True}
    assert aiki("schedule", "list").stdout == "no schedules\n"


@pytest.mark.parametrize(
    ("arguments", "begin"),
    [
        (("--cron", "0 0 30 2 *"), "aiki: invalid_schedule: the schedule 0 0 30 2 * (UTC) never fires"),
        (("--cron", "0 0 * * * 0 2030"), "aiki: invalid_schedule: the cron expression '0 0 * * * 0 2030' has 7 fields"),
        (("--cron", "@daily", "--timezone", "Mars/Olympus"), "aiki: invalid_schedule: there is no time zone 'Mars/Olympus'"),
        (("--every", "0"), "aiki: invalid_schedule: interval must be "),
        (
            ("--every", "1h", "--start", "2030-01-02", "--end", "2030-01-01"),
            "aiki: invalid_schedule: the schedule's end is before its start",
        ),
        (("--every", "1h", "--cron", "@daily"), "aiki: invalid_schedule: give either --cron or --every"),
        (("--every", "1h", "--end", "2020-01-01"), "aiki: invalid_schedule: the schedule every 3600 s never fires after now"),
    ],
)
def test_bad_input(aiki: Command, arguments: tuple[str, ...], begin: str) -> None:
    assert aiki.failure("schedule", "create", "bad", "order", ORDER, *arguments).startswith(begin)
    assert aiki.failure("schedule", "show", "bad").startswith("aiki: schedule_not_found: ")


def test_a_timer_service_of_its_own(nats: EmbeddedNats) -> None:
    aiki = Command(nats.url)
    missing = aiki.failure("timer", "--region", "nowhere")
    assert missing.startswith("aiki: stream_missing: ")
    aiki.json("init", "--region", "timer-cli")
    with aiki.service("timer", "--region", "timer-cli") as timer:
        assert timer.announced == {"timer": "timer-cli"}
        assert timer.stop() == 0
