"""`aiki advise` and `aiki worker show`, as a user runs them."""

from collections.abc import Iterator

import pytest

from aiki.transport import EmbeddedNats
from tests.integration.cli.command import Command


@pytest.fixture
def aiki(nats: EmbeddedNats) -> Iterator[Command]:
    command = Command(nats.url)
    command.environment["AIKI_REGION"] = "advise"
    assert command("init").returncode == 0
    yield command


def test_advice_and_the_worker_that_it_comes_from(aiki: Command) -> None:
    assert aiki.json("advise") == []
    assert "nothing was measured yet" in aiki("advise").stdout
    with aiki.service("worker", "tests.integration.cli.caching", "--id", "one") as worker:
        assert worker.announced["worker"] == "one"
        for number in (1, 2):
            assert aiki("run", "start", "reads", str(number), "--wait", "--version", "1.0.0").returncode == 0
        shown = aiki.json("worker", "show", "one")
        assert (shown["id"], shown["max_tasks"], shown["load"]["bodies"]) == ("one", 100, 0)
        text = aiki("worker", "show", "one").stdout
        assert "fetch (default)" in text and "0 of 100" in text
        assert "0/100 bodies" in aiki("worker", "list").stdout.replace("\n", " ")
        assert aiki.failure("worker", "show", "two").startswith("aiki: definition: no worker 'two' has reported")
        assert worker.stop() == 0
    found = aiki.json("advise")
    assert [(each["name"], each["kind"], each["samples"]) for each in found] == [("fetch", "task", 2), ("reads", "workflow", 2)]
    assert found[0]["note"] == "not enough history (n = 2 < 100)"
    assert aiki.json("advise", "fetch") == found[:1]
    assert "not enough history" in aiki("advise").stdout
