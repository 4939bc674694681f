"""`aiki dlq` and `aiki workflow`, as users run them."""

import asyncio
import signal
from collections.abc import Iterator

import pytest

from aiki.sdk import Client
from tests.integration.cli.command import Command, Service


@pytest.fixture(scope="module")
def dev() -> Iterator[Service]:
    with Command("nats://127.0.0.1:1").service("dev", "tests.integration.cli.talking", "--port", "0") as service:
        yield service
        assert service.stop(signal.SIGINT) == 0


@pytest.fixture(scope="module")
def aiki(dev: Service) -> Command:
    return Command(dev.announced["url"])


def put_garbage(url: str) -> None:
    async def put() -> None:
        async with await Client.connect(url) as client:
            mail = client.subjects.run_mail("approval", "1.0.0")
            for number in range(2):
                await client.transport.publish(f"{mail}{'0' * 25}{number}", b"\xc7")
            async with asyncio.timeout(20):
                while len([each async for each in client.dead_letters()]) < 2:  # noqa: ASYNC110  # another process writes them
                    await asyncio.sleep(0.05)

    asyncio.run(put())


def test_the_list_of_dead_letters(aiki: Command) -> None:
    assert aiki.json("dlq", "list") == []
    assert aiki("dlq", "list").stdout.strip() == "no dead letters"
    put_garbage(aiki.url)
    letters = aiki.json("dlq", "list")
    assert [letter["kind"] for letter in letters] == ["message", "message"]
    assert aiki.json("dlq", "list", "--kind", "run") == []
    first, second = (letter["id"] for letter in letters)
    shown = aiki.json("dlq", "show", first)
    assert shown["letter"]["code"] == "unreadable"
    assert [message["data"] for message in shown["messages"]] == ["xw=="]
    assert "it cannot be read" in aiki("dlq", "show", first).stdout
    assert any("dead letters" in line and "warn" in line for line in aiki("doctor").stdout.splitlines())
    assert aiki.json("dlq", "drop", first) == [{"id": first, "done": "dropped"}]
    assert aiki.failure("dlq", "show", first).startswith("aiki: letter_not_found: ")
    done = aiki("dlq", "retry", first, second, "--json")
    assert done.returncode == 1
    assert "letter_not_found" in done.stdout
    assert '"retried"' in done.stdout
    assert aiki.failure("dlq", "retry").startswith("aiki: definition: ")
    assert aiki("dlq", "drop", "--all", stdin="n\n").returncode == 1
    assert aiki("dlq", "drop", "--all", "--yes").returncode == 0


def test_a_version_is_retired(aiki: Command) -> None:
    listed = aiki.json("workflow", "list", "approval")
    assert [(each["workflow"], each["version"], each["retired_at"]) for each in listed] == [("approval", "1.0.0", None)]
    assert aiki.json("workflow", "retire", "approval", "1.0.0", "--reason", "use 2") == {
        "workflow": "approval",
        "version": "1.0.0",
        "retired": True,
    }
    assert "use 2" in aiki.failure("run", "start", "approval", '"paper"')
    view = aiki.json("workflow", "show", "approval", "1.0.0")
    assert (view["drained"], view["runs"], len(view["workers"])) == (True, {}, 1)
    assert "drained" in aiki("workflow", "show", "approval", "1.0.0").stdout
    assert "retired" in aiki("workflow", "list").stdout
    assert aiki("workflow", "unretire", "approval", "1.0.0").returncode == 0
    assert aiki("run", "start", "approval", '"paper"').returncode == 0
