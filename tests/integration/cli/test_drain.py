"""Workers that are told to stop, one after another, while there is work."""

import asyncio
import time
from collections import Counter
from pathlib import Path

from aiki import actors
from aiki.sdk import Client
from aiki.transport import EmbeddedNats
from tests.integration.cli.command import Command
from tests.integration.cli.draining import notes

RUNS = 40
AT_ONCE = 2.5
"""Seconds: sooner than the 3 s after which the work of a silent worker is given away."""


async def test_workers_that_are_told_to_stop_hand_over_and_run_nothing_twice(nats: EmbeddedNats, tmp_path: Path) -> None:
    file = tmp_path / "notes"
    file.touch()
    aiki = Command(nats.url)
    aiki.environment |= {"AIKI_REGION": "drain", "AIKI_NOTES": str(file)}
    serve = ("worker", "tests.integration.cli.draining", "--max-tasks", "20")
    async with await Client.connect(nats.url, region="drain") as client:
        await actors.init(client.transport, region="drain")
        services = [await asyncio.to_thread(aiki.service, *serve, "--id", "worker-0")]
        handles = [await notes.enqueue(client, 10 * number) for number in range(RUNS)]
        longest = 0.0

        async def watch() -> None:
            nonlocal longest
            known, since = 0, time.monotonic()
            while known < 10 * RUNS:
                await asyncio.sleep(0.02)
                if (count := len(file.read_text().splitlines())) > known:
                    known, since = count, time.monotonic()
                longest = max(longest, time.monotonic() - since)

        watching = asyncio.create_task(watch())
        try:
            for number in range(1, 4):
                services.append(await asyncio.to_thread(aiki.service, *serve, "--id", f"worker-{number}"))
                assert await asyncio.to_thread(services[-2].stop) == 0
            for handle in handles:
                await handle.wait_for_completion(timeout=30)
            await asyncio.wait_for(watching, 10)
            assert await asyncio.to_thread(services[-1].stop) == 0
        finally:
            watching.cancel()
            for service in services:
                service.__exit__()
    counts = Counter(file.read_text().splitlines())
    assert counts == {str(number): 1 for number in range(10 * RUNS)}
    assert longest < AT_ONCE
