"""`aiki cache`, as a user runs it."""

import signal
from collections.abc import Iterator

import pytest

from tests.integration.cli.command import Command, Service


@pytest.fixture(scope="module")
def dev() -> Iterator[Service]:
    with Command("nats://127.0.0.1:1").service("dev", "tests.integration.cli.caching", "--port", "0") as service:
        yield service
        assert service.stop(signal.SIGINT) == 0


def test_list_invalidate_and_clear(dev: Service) -> None:
    aiki = Command(dev.announced["url"])
    assert "nothing is cached" in aiki("cache", "list").stdout
    for number in (1, 2, 3):
        done = aiki("run", "start", "reads", str(number), "--wait", "--json")
        assert done.returncode == 0, done.stderr
    found = aiki.json("cache", "list", "fetch")
    assert sorted((each["key"], each["value"], each["version"]) for each in found) == [
        ("number 1", 10, "1"),
        ("number 2", 20, "1"),
        ("number 3", 30, "1"),
    ]
    again = aiki("run", "start", "reads", "1", "--wait", "--json")
    run_id = aiki.json("run", "list")[0]["id"]
    assert again.returncode == 0
    assert [step["cached"] for step in aiki.json("run", "show", run_id)["steps"]] == [True]
    assert "(cache)" in aiki("run", "show", run_id).stdout
    assert [entry["cached"] for entry in aiki.json("run", "history", run_id)] == [True]
    assert "number 2" in aiki("cache", "list").stdout
    assert aiki.json("cache", "invalidate", "fetch", "number 2") == {"task": "fetch", "forgotten": 1}
    other = next(each["id"] for each in found if each["key"] == "number 3")
    assert aiki.json("cache", "invalidate", "fetch", other) == {"task": "fetch", "forgotten": 1}
    assert aiki("cache", "clear", "fetch").stdout == "1 result of task fetch forgotten\n"
    assert aiki.json("cache", "list") == []
    assert aiki.failure("cache", "list", "\n").startswith("aiki: invalid_name: ")
