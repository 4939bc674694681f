"""`make demo`: run the audit, kill its worker half-way, let another go on, and prove that nothing recorded was done again."""

import asyncio
import sys
import tempfile
from contextlib import aclosing
from pathlib import Path

from rich.console import Console

from aiki import actors
from aiki.sdk import AikiError, Client
from aiki.transport.embedded import EmbeddedNats
from examples.audit import audit
from examples.demo.process import WorkerProcess
from examples.demo.progress import LiveProgress, recorded, verifications
from examples.demo.proof import Proof, read_bodies
from examples.demo.report import print_proof, print_report, print_timeline

MOST_SECONDS = 55


async def run(console: Console, folder: Path) -> bool:
    """Whether the proof holds."""
    bodies = folder / "bodies.log"
    async with EmbeddedNats() as server, await Client.connect(server.url) as client:
        await actors.init(client.transport)
        console.print(f"NATS {client.transport.server().version} (embedded, pid {server.pid}) at {server.url}")
        first = await WorkerProcess.start("worker-1", server.url, bodies)
        second: WorkerProcess | None = None
        console.print(f"{first.id} (pid {first.pid}) serves the workflow `audit`")
        handle = await audit.enqueue(client)
        console.print(f"enqueued run {handle.id}")
        killed_at, at_kill = 0.0, frozenset[str]()
        try:
            with LiveProgress(console) as progress:
                async with aclosing(handle.changes()) as changes:
                    async for view in changes:
                        if second is None and verifications(view) and len(recorded(view)) * 2 >= verifications(view):
                            killed_at = await first.kill()
                            view = await handle.describe()
                            at_kill = frozenset(recorded(view))
                            progress.show(view)
                            progress.say(f"SIGKILL for {first.id} (pid {first.pid}): {len(at_kill)} of {verifications(view)} are recorded")
                            second = await WorkerProcess.start("worker-2", server.url, bodies)
                            progress.say(f"{second.id} (pid {second.pid}) goes on")
                            progress.say(f"what {first.id} had in hand comes back after {actors.ACK_WAIT:g} s without a sign of life")
                        progress.show(view)
            report = await handle.wait_for_completion()
            view = await handle.describe()
        finally:
            for worker in (first, second):
                if worker is not None:
                    await worker.stop()
    print_report(console, report)
    print_timeline(console, view)
    if len(at_kill) in (0, verifications(view)):
        console.print("INCONCLUSIVE: the kill did not come in the middle of the run; run the demonstration again", style="red")
        return False
    return print_proof(console, Proof(at_kill, read_bodies(bodies), first.pid, killed_at))


async def main() -> int:
    """The process's exit status: 0 when the proof holds."""
    terminal = sys.stdout.isatty()
    console = Console(highlight=False, width=None if terminal else 140)
    with tempfile.TemporaryDirectory(prefix="aiki-demo-") as folder:
        try:
            async with asyncio.timeout(MOST_SECONDS):
                return 0 if await run(console, Path(folder)) else 1
        except (AikiError, TimeoutError) as error:
            words = f"nothing more happened within {MOST_SECONDS} s" if isinstance(error, TimeoutError) else f"{error.code}: {error}"
            print(f"the demonstration failed: {words}", file=sys.stderr)
            return 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
