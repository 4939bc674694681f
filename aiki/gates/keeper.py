"""The keeper of a gate: lets the dispatches of one task in one queue in, from the waiting room to the work queue, as its limits allow.

Every worker that serves such a task may keep its gate; the one that the server has given the baton to does, until it acknowledges that. The
baton is a hint, as all leases are: what fences is the compare-and-set on the gate's state, by which a keeper says what it lets in before it
does.

What waits and what is at work are the server's to count, not ours: a dispatch is at work for as long as its message is in the work queue.
So a worker that dies frees nothing (its dispatch goes to another), one that reports frees its place by the acknowledgement itself, and
nothing can be left behind. Nudges merely make that quick.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence

from aiki.actors import door, queues, topology
from aiki.actors.host import Host
from aiki.gates.machine import GateMachine
from aiki.gates.state import GateState, LimitState, Move, decode_gate, encode_gate
from aiki.gates.window import Window
from aiki.kv import GateStore
from aiki.transport.port import Consumption, Delivery, Message, Subscription
from aiki.transport.surely import surely
from aiki.types.admission import Concurrency, Rate
from aiki.types.errors import AikiError, Conflict, NotConnected

__all__ = ["GateKeeper"]

LINGER = 1.0
"""Seconds for which the baton is kept when nothing waits any more."""
LOOK_AFTER = 1.0
"""Seconds after which the keeper counts again what is at work: a worker's nudge may be lost, or its dispatch purged."""
LOOK_INSIDE_ROOM = 30.0
"""Seconds after which it reads the waiting room again, which may hold a hundred thousand."""
GUARD = 2 * topology.ACK_WAIT
"""Seconds after which the baton comes back by itself if its holder dies while it puts it down."""
TRY_AGAIN = 1.0

_log = logging.getLogger("aiki.gates")


class GateKeeper:
    """One worker's readiness to keep the gate of a task in a queue."""

    def __init__(self, host: Host, queue: str, task: str, limits: Sequence[Concurrency | Rate]) -> None:
        self._host = host
        self._transport = host.transport
        self._subjects = host.subjects
        self._queue = queue
        self._task = task
        self._limits = tuple(limits)
        self._counts = any(isinstance(limit, Concurrency) for limit in limits)
        self._gate = host.subjects.gate_key(queue, task)
        self._room = host.subjects.waiting_room(self._gate)
        self._work = host.subjects.task_mail(queue, task)
        self._durable = host.subjects.gate_consumer(queue, task)
        self._store = GateStore(host.transport, host.subjects)
        self._batons: list[Delivery] = []
        self._consumption: Consumption | None = None
        self._nudges: Subscription | None = None
        self._tending: asyncio.Task[None] | None = None
        self._restart: asyncio.Task[None] | None = None
        self._machine: GateMachine | None = None
        self._state = GateState(queue=queue, task=task)
        self._revision = 0
        self._window = Window()
        self._awake = asyncio.Event()
        self._stopping = False

    # -- life

    async def is_needed(self) -> bool:
        """Whether anything waits."""
        return bool(await self._transport.subjects(self._subjects.task_stream, self._room + ">"))

    async def start(self) -> None:
        """Be ready. What waits without a baton, by whatever mishap, gets one."""
        spec = topology.consumer(self._subjects.task_stream, self._durable, self._subjects.gate_mail(self._gate))
        await self._transport.ensure_consumer(spec)
        self._host.keepers.append(self._keep_alive)
        self._transport.on_reconnect(self._look_again)
        await self._consume()
        await surely(lambda: door.ring(self._transport, self._subjects, self._gate))

    async def stop(self) -> None:
        """Hand the baton over, if it is here."""
        self._stopping = True
        for task in (self._restart, self._tending):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if self._consumption is not None:
            await self._consumption.stop()
        if self._keep_alive in self._host.keepers:
            self._host.keepers.remove(self._keep_alive)
        for baton in self._batons:
            baton.nak()
        self._batons.clear()

    def abandon(self) -> None:
        """Forget everything at once, as a process does that is killed."""
        self._stopping = True
        self._batons.clear()

    async def _consume(self) -> None:
        self._consumption = await self._transport.consume(self._subjects.task_stream, self._durable, self._on_baton, window=8)

    def _on_baton(self, delivery: Delivery) -> None:
        self._batons.append(delivery)
        self._host.work_began()
        if self._tending is None:
            self._tending = asyncio.create_task(self._tend())

    def _keep_alive(self) -> bool:
        for baton in self._batons:
            baton.in_progress()
        return bool(self._batons)

    def _look_again(self) -> None:
        """Whatever was said while we were away has been missed."""
        self._window.room_read_at = self._window.counted_at = 0.0
        self._awake.set()

    # -- with the baton

    async def _tend(self) -> None:
        try:
            while self._batons:
                await self._take_over()
                while not await self._serve():
                    pass
        except asyncio.CancelledError:
            self._stopping = True
            raise
        except NotConnected:
            self._stopping = True
        except Conflict:
            self._restart = asyncio.create_task(self._give_way(self._batons))
            self._batons = []
        except Exception as error:
            level = logging.WARNING if isinstance(error, AikiError) else logging.ERROR
            _log.log(level, "gate of task %r in queue %r fails; tried again in %g s", self._task, self._queue, TRY_AGAIN, exc_info=error)
            for baton in self._batons:
                baton.nak(TRY_AGAIN)
            self._batons = []
        finally:
            self._machine = None
            nudges, self._nudges = self._nudges, None
            if nudges is not None:
                await nudges.stop()
            self._tending = None
            if self._batons and not self._stopping:  # one came while the other was put down
                self._tending = asyncio.create_task(self._tend())

    async def _take_over(self) -> None:
        """Become the keeper: from here on nobody else's compare-and-set succeeds. Then finish what another has begun."""
        stored = await self._store.read(self._gate)
        state = GateState(queue=self._queue, task=self._task) if stored is None else decode_gate(stored.value)
        self._state, self._revision = state, 0 if stored is None else stored.revision
        state.keeper, state.baton = self._host.worker_id, max(baton.sequence for baton in self._batons)
        state.limits = tuple(
            LimitState(limit.count, limit.period if isinstance(limit, Rate) else None, limit.key is not None) for limit in self._limits
        )
        await self._commit()
        self._machine = GateMachine(self._limits, state.taken)
        self._window = Window()
        if self._nudges is None:
            self._nudges = await self._transport.subscribe(door.nudge_subject(self._subjects, self._gate), self._on_nudge)
        await self._carry_out(state.owed)
        if state.owed:
            self._machine.delay(state.let_in_at, self._host.now())
        await self._count()
        await self._read_room()

    async def _serve(self) -> bool:
        """Let in who may come in, then wait for a change. True when the baton has been put down."""
        machine = self._machine
        assert machine is not None
        self._awake.clear()
        again = await self._let_in(machine)
        if again == 0.0:
            return False
        if machine.waiting:
            await self._sleep(LOOK_AFTER if again is None else min(again, LOOK_AFTER))
        else:
            await self._sleep(LINGER)
            if not machine.waiting:
                await self._read_room()
            if not machine.waiting:
                return await self._put_down()
        await self._look(machine)
        return False

    async def _let_in(self, machine: GateMachine) -> float | None:
        """Answers when to look again: at once (0), in so many seconds, or (None) when something changes."""
        if not machine.waiting:
            return None
        transport, subjects = self._transport, self._subjects
        (ahead, _), paused = await asyncio.gather(
            transport.backlog(subjects.task_stream, subjects.task_consumer(self._queue, self._task)),
            queues.holding(transport, subjects, self._queue, self._host.now()),
        )
        if paused is not None:
            return None  # what is let in now would begin all at once when the queue goes on, whatever its rate
        room = self._window.room(ahead)
        if room <= 0:
            return self._window.pause()
        now = self._host.now()
        moves: list[Move] = []
        while len(moves) < room and (move := machine.admit(now)) is not None:
            moves.append(move)
        if not moves:
            return None if machine.next_instant is None else max(machine.next_instant - now, 0.001)
        machine.forget_old(now)
        self._state.owed, self._state.let_in_at = moves, now
        self._state.admitted += len(moves)
        await self._commit()
        await self._carry_out(moves)
        machine.delay(now, self._host.now())
        self._window.let_in(len(moves))
        return 0.0

    async def _commit(self) -> None:
        operation = self._host.next_operation()
        value = encode_gate(self._state)
        self._revision = await self._store.commit(self._gate, value, self._revision, state="gate", operation=operation)

    async def _carry_out(self, moves: list[Move]) -> None:
        if moves:
            await asyncio.gather(*(self._move(move) for move in moves))

    async def _move(self, move: Move) -> None:
        """From the waiting room to the work queue; one that is there already, or was withdrawn meanwhile, is left alone."""
        stream = self._subjects.task_stream
        waiting, working = f"{self._room}{move.place}.{move.id}", f"{self._work}{move.id}.{move.place}"
        stored = (await surely(lambda: self._transport.last(stream, waiting))).answer
        if stored is None:
            if self._machine is not None:
                self._machine.release(move.id)
            return
        headers = {name: value for name, value in stored.headers.items() if not name.startswith("Nats-")}
        once = f"{move.id}/in/{stored.sequence}"  # one that was given up, and is retried, comes again
        with contextlib.suppress(Conflict):
            await surely(lambda: self._transport.publish(working, stored.data, headers=headers, message_id=once, expect=0))
        await surely(lambda: self._transport.purge(stream, waiting))

    async def _give_way(self, batons: list[Delivery]) -> None:
        """Another is the keeper. If by another baton, ours are one too many; if by ours, it is not ours to settle: it lapses."""
        with contextlib.suppress(AikiError):
            stored = await self._store.read(self._gate)
            if stored is not None and decode_gate(stored.value).baton not in [baton.sequence for baton in batons]:
                for baton in batons:
                    baton.ack()
                return
        while not self._stopping:
            with contextlib.suppress(AikiError):
                if self._consumption is not None:
                    await self._consumption.stop()
                await self._consume()
                return
            await asyncio.sleep(TRY_AGAIN)

    async def _put_down(self) -> bool:
        """Nothing waits: acknowledge the baton, so that the gate costs nothing. False when something has come meanwhile.

        Whoever comes now sees the baton, and takes it for a keeper's. So the room is looked into once more when it is gone; should we die
        in between, a schedule brings it back.
        """
        transport, stream = self._transport, self._subjects.task_stream
        baton, guard = self._subjects.baton(self._gate), self._subjects.baton_guard(self._gate)
        ours = list(self._batons)
        await surely(lambda: transport.schedule(guard, self._host.now() + GUARD, baton, b""))
        await surely(lambda: transport.purge(stream, baton))
        for each in ours:
            self._batons.remove(each)
            each.ack()
        if (await surely(lambda: transport.subjects(stream, self._room + ">"))).answer:
            await surely(lambda: door.ring(transport, self._subjects, self._gate))
        await surely(lambda: transport.cancel_schedule(stream, guard))
        return True

    # -- what the server knows

    async def _look(self, machine: GateMachine) -> None:
        """Count again, and read again, from time to time."""
        now = asyncio.get_running_loop().time()
        if machine.waiting and self._counts and now - self._window.counted_at >= LOOK_AFTER:
            await self._count()
        if machine.waiting and now - self._window.room_read_at >= LOOK_INSIDE_ROOM:
            await self._read_room()

    async def _count(self) -> None:
        """What is at work."""
        machine = self._machine
        assert machine is not None
        if self._counts:
            found: dict[str, str] = {}
            for subject in await self._transport.subjects(self._subjects.task_stream, self._work + ">"):
                run_id, serial, *place = subject.removeprefix(self._work).split(".")
                if len(place) == 3:
                    found[f"{run_id}.{serial}"] = ".".join(place)
            machine.keep(found)
            for id, at in found.items():
                machine.enter(at, id)
        self._window.counted_at = asyncio.get_running_loop().time()

    async def _read_room(self) -> None:
        """What waits."""
        machine = self._machine
        assert machine is not None
        before, found = machine.waiting_ids, []
        for subject in await self._transport.subjects(self._subjects.task_stream, self._room + ">"):
            *place, run_id, serial = subject.removeprefix(self._room).split(".")
            if len(place) == 3:
                found.append(f"{run_id}.{serial}")
                machine.hear(".".join(place), found[-1])
        machine.keep_waiting(found, before)
        self._window.room_read_at = asyncio.get_running_loop().time()

    def _on_nudge(self, message: Message) -> None:
        machine = self._machine
        if machine is None:
            return
        words = message.data.decode("ascii", "replace")
        if words.startswith("-"):
            machine.release(words[1:])
            machine.gone(words[1:])
        elif words.startswith("+") and words.count(" ") == 1:
            place, _, id = words[1:].partition(" ")
            if place.count(".") == 2 and id.count(".") == 1:
                machine.hear(place, id)
        self._window.hurry()
        self._awake.set()

    async def _sleep(self, longest: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(longest):
                await self._awake.wait()
