"""A host that loses the network, is given up, and comes back with calls in hand that have long been applied, and forgotten, elsewhere."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiki.actors import init
from aiki.clock import VirtualClock, run_virtual
from aiki.entities import decode_entity
from aiki.sdk import Actor, ActorContext, Client, Worker, actor, handler
from aiki.transport import Ack, Headers, MemoryServer, MemoryTransport

AWAY = 60.0
CALLS = 300
"""Enough of them to have what came by the mailbox before forgotten."""


@actor(name="diary")
class Diary(Actor):
    """Writes down what it is asked and told."""

    lines: list[str] = []

    @handler
    async def note(self, ctx: ActorContext, line: str) -> int:
        self.lines.append(line)
        return len(self.lines)

    @handler
    async def copy_out(self, ctx: ActorContext, line: str) -> int:
        self.lines.append(line)
        await Diary.ref(ctx, "other").tell.note(line)
        return len(self.lines)

    @handler
    async def ponder(self, ctx: ActorContext, line: str) -> int:
        await asyncio.sleep(2)
        self.lines.append(line)
        return len(self.lines)

    @handler(read_only=True)
    async def read(self, ctx: ActorContext) -> list[str]:
        return self.lines


def let_writes_wait(transport: MemoryTransport) -> asyncio.Event:
    """The network swallows what is written and nobody notices that it is gone: writes are under way until the event is set."""
    publish, disconnect, back = transport.publish, transport.disconnect, asyncio.Event()
    back.set()

    def cut() -> None:
        back.clear()
        disconnect()

    async def patient(*args: Any, **options: Any) -> Ack:
        await back.wait()
        return await publish(*args, **options)

    transport.publish = patient  # type: ignore[method-assign, assignment]
    transport.disconnect = cut  # type: ignore[method-assign]
    return back


class Scene:
    """A client, a host that has the diary, and another."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.server = MemoryServer(clock)
        self.client = Client(self.server.connect("client"), clock=clock)
        self.diary = Diary.ref(self.client, "1", timeout=60)
        self.cut_at_commit: MemoryTransport | None = None
        store = self.server.store

        def spy(subject: str, data: bytes, headers: Headers) -> Ack:
            ack = store(subject, data, headers)
            if self.cut_at_commit is not None and subject.endswith(".diary.1") and decode_entity(data).outbox:
                self.cut_at_commit.disconnect()  # stored, but whether it was, its host cannot tell
                self.cut_at_commit = None
            return ack

        self.server.store = spy  # type: ignore[method-assign]

    async def worker(self, name: str) -> tuple[Worker, MemoryTransport]:
        transport = self.server.connect(name)
        worker = Worker(Client(transport, clock=self.clock), clock=self.clock, id=name)
        worker.registry.add(Diary)
        await worker.start()
        return worker, transport

    async def after_a_long_absence(self, happens: Callable[[MemoryTransport], Awaitable[None]], expected: str, others: list[str]) -> None:
        """`happens`: calls that reach the host and its loss of the network; `others`: what is told the other diary."""
        await init(self.server.connect("operator"))
        first, transport = await self.worker("first")
        back = let_writes_wait(transport)
        await self.diary.ask.note("begin")
        second, _ = await self.worker("second")
        await happens(transport)
        for number in range(CALLS):
            await self.diary.tell.note(f"{number}")
            await asyncio.sleep(AWAY / CALLS)
        transport.reconnect()
        back.set()
        await asyncio.sleep(AWAY)
        lines = await self.diary.ask.read()
        assert lines.count(expected) == 1
        assert sorted(lines) == sorted(set(lines))
        assert len(lines) > CALLS
        assert await Diary.ref(self.client, "other").ask.read() == others
        await first.stop(0)
        await second.stop(0)


def test_what_was_committed_before_the_network_went_is_not_done_again() -> None:
    async def main(clock: VirtualClock) -> None:
        scene = Scene(clock)

        async def happens(transport: MemoryTransport) -> None:
            scene.cut_at_commit = transport
            await scene.diary.ask.copy_out("once")

        await scene.after_a_long_absence(happens, "once", ["once"])

    run_virtual(main)


def test_what_waited_behind_a_long_call_is_not_done_again() -> None:
    async def main(clock: VirtualClock) -> None:
        scene = Scene(clock)

        async def happens(transport: MemoryTransport) -> None:
            pondering = asyncio.ensure_future(scene.diary.ask.ponder("pondered"))
            await asyncio.sleep(0.5)
            waiting = asyncio.ensure_future(scene.diary.ask.note("asked"))
            await scene.diary.tell.note("told")
            await asyncio.sleep(0.5)
            transport.disconnect()
            await asyncio.gather(pondering, waiting)

        await scene.after_a_long_absence(happens, "told", [])

    run_virtual(main)
