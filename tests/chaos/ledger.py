"""An actor for tests with real processes, and a worker process that serves it: `python -m tests.chaos.ledger URL REGION NAME`."""

import asyncio
import sys

from aiki.sdk import Actor, ActorContext, Client, Worker, actor, handler

__all__ = ["Ledger"]


@actor(name="ledger")
class Ledger(Actor):
    """Writes down what it was asked and told."""

    seen: list[str] = []
    relayed: int = 0

    @handler
    async def note(self, ctx: ActorContext, name: str) -> int:
        self.seen.append(name)
        return len(self.seen)

    @handler
    async def relay(self, ctx: ActorContext, name: str) -> None:
        self.relayed += 1
        await Ledger.ref(ctx, f"{ctx.id}-copy").tell.note(name)

    @handler
    async def later(self, ctx: ActorContext, name: str) -> None:
        ctx.remind(Ledger.note, name, after=0.5, name=name)

    @handler(read_only=True)
    async def read(self, ctx: ActorContext) -> list[str]:
        return self.seen


async def serve(url: str, region: str, name: str) -> None:
    """Says "ready" once it serves, and serves until it is ended."""
    async with await Client.connect(url, region=region, timeout=20) as client:
        worker = Worker(client, id=name)
        worker.registry.add(Ledger)
        async with worker:
            print("ready", flush=True)
            await asyncio.Event().wait()


if __name__ == "__main__":
    from tests.chaos import ledger

    asyncio.run(ledger.serve(*sys.argv[1:4]))
