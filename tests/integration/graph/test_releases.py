"""The example `releases`, on NATS, and on the command line."""

import signal
from collections.abc import Iterator

import pytest

from aiki.graph import progress_of
from aiki.testing import TestEnvironment
from examples.releases import Release, build, publish, release, review, weigh
from tests.integration.cli.command import Command, Service
from tests.integration.engine.place import Place

SMALL, LARGE = Release("1.0", ["linux"]), Release("1.1", ["linux", "windows"])


@pytest.fixture(scope="module")
def dev() -> Iterator[Service]:
    with Command("nats://127.0.0.1:1").service("dev", "examples.releases", "--port", "0") as service:
        yield service
        assert service.stop(signal.SIGINT) == 0


async def test_a_release_on_nats(place: Place) -> None:
    await place.worker(release, build, weigh, review, publish)
    small = await release.enqueue(place.client, SMALL)
    large = await release.enqueue(place.client, LARGE, idempotency_key="1.1")
    assert await small.wait_for_completion() == "1 files, reviewed by nobody: it is small"
    assert await large.wait_for_completion() == "2 files, reviewed by somebody, of 1.1"
    assert [each.state for each in progress_of(release, await small.describe())] == ["done", "done", "skipped", "done"]
    assert (await release.enqueue(place.client, LARGE, idempotency_key="1.1")).id == large.id


async def test_a_worker_that_dies_at_each_commit() -> None:
    async with TestEnvironment.in_memory() as env:
        await env.worker(release, build, weigh, review, publish)
        for number in range(1, 5):
            env.crash_after_commit(number, restart=True)
            assert await env.run(release, LARGE) == "2 files, reviewed by somebody, of 1.1"


def test_the_command_line_shows_the_nodes(dev: Service) -> None:
    aiki = Command(dev.announced["url"])
    done = aiki("run", "start", "release", '{"version": "1.0", "platforms": ["linux"]}', "--wait", "--json")
    assert done.returncode == 0, done.stderr
    run_id = aiki.json("run", "list", "--workflow", "release")[0]["id"]
    of = ("--module", "examples.releases")
    assert "  review   skipped  task review" in aiki("run", "show", run_id, "--graph", "text", *of).stdout
    assert aiki("run", "show", run_id, "--graph", "mermaid", *of).stdout.startswith("flowchart TD\n")
    assert [each["state"] for each in aiki.json("run", "show", run_id, "--graph", "text", *of)] == ["done", "done", "skipped", "done"]
    assert aiki("run", "show", run_id, "--graph", "text").returncode == 2
    assert aiki.failure("run", "show", run_id, "--graph", "text", "--module", "examples.orders").startswith("aiki: definition: ")
