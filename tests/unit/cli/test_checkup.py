"""The findings of `aiki doctor`, on the in-memory transport."""

import msgspec
import pytest

from aiki import actors
from aiki.cli.checkup import Finding, check_all
from aiki.client import Client
from aiki.clock import SystemClock
from aiki.transport import MemoryServer


class Ahead(SystemClock):
    """A server's clock that is ten seconds ahead of ours."""

    def now(self) -> float:
        return super().now() + 10


async def findings(server: MemoryServer) -> dict[str, Finding]:
    return {finding.check: finding for finding in await check_all(Client(server.connect()))}


async def test_a_region_without_streams() -> None:
    found = await findings(MemoryServer(SystemClock()))
    missing = [finding for name, finding in found.items() if name.startswith("stream ")]
    assert len(missing) == 8
    assert {finding.level for finding in missing} == {"FAIL"}
    assert all("aiki init --region default" in finding.finding for finding in missing)


async def test_one_replica_is_warned_of_and_three_are_not() -> None:
    for replicas, level in ((1, "warn"), (3, "ok")):
        server = MemoryServer(SystemClock())
        await actors.init(server.connect(), replicas=replicas)
        found = await findings(server)
        assert found["durability"].level == level
        assert found["clocks"].level == "ok"
        assert not [finding for finding in found.values() if finding.level == "FAIL"]


async def test_streams_in_memory_are_warned_of() -> None:
    server = MemoryServer(SystemClock())
    await actors.init(server.connect(), storage="memory")
    assert "gone with the server" in (await findings(server))["durability"].finding


async def test_a_stream_with_other_settings_is_shown_with_both() -> None:
    server = MemoryServer(SystemClock())
    transport = server.connect()
    await actors.init(transport)
    spec = await transport.stream("AIKI_TASK_default")
    assert spec is not None
    await transport.ensure_stream(msgspec.structs.replace(spec, dedupe_window=1.0), update=True)
    found = (await findings(server))["stream AIKI_TASK_default"]
    assert found.level == "FAIL"
    assert "dedupe_window is 1.0, not 120.0" in found.finding


async def test_clocks_that_differ() -> None:
    server = MemoryServer(Ahead())
    await actors.init(server.connect())
    found = (await findings(server))["clocks"]
    assert found.level == "warn"
    assert float(found.finding.split()[-2]) == pytest.approx(10, abs=1)


async def test_a_small_max_payload() -> None:
    assert (await findings(MemoryServer(SystemClock(), max_payload=64_000)))["max_payload"].level == "warn"
