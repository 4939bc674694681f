"""The task worker: pulls dispatches of one task from one queue, runs its body, and reports to the run.

The dispatch is a durable message, kept alive while the body runs and acknowledged only when the run has the outcome: told directly when its
host is this process or can be asked ("done" means committed), else by a message in the run's mailbox. If the process dies, the dispatch is
delivered again.
"""

import asyncio
import logging

from msgspec.structs import replace

from aiki.actors import door, queues, report, topology
from aiki.actors.beats import Beats
from aiki.actors.definitions import TaskDefinition
from aiki.actors.evidence import Poisoned, TriedElsewhere
from aiki.actors.held import bury_dispatch
from aiki.actors.host import Host
from aiki.actors.slots import Slots, room_for
from aiki.actors.unreadable import LEFT_FOR
from aiki.actors.work import Work
from aiki.sealing import seals
from aiki.transport.port import Consumption, Delivery
from aiki.transport.surely import surely
from aiki.types.admission import hidden, place_of
from aiki.types.errors import CodecError, NotConnected, OutcomeUnknown, RequestTimeout, TransportError
from aiki.types.messages import Dispatch, Resume, StepFailedOnce, StepResult, decode_dispatch, encode

__all__ = ["TaskWorker"]

PAUSE = 2.0
"""Seconds before a dispatch is taken up again that could not be dealt with."""

ANOTHER_FIRST = 1.0
"""Seconds after which a suspect is tried again, when another one is being tried here."""
ADJUST_AFTER = 0.005
"""Seconds after a slot was taken or given back until we pull accordingly: many changes make one."""

_log = logging.getLogger("aiki.actors")


class TaskWorker:
    """One task in one queue. `slots` bounds the bodies that run at a time, over all the tasks that share it."""

    def __init__(self, host: Host, definition: TaskDefinition, queue: str, slots: Slots, window: int) -> None:
        self._host = host
        self._definition = definition
        self._queue = queue
        self._slots = slots
        self._window = window
        self._consumption: Consumption | None = None
        self._beats = Beats(host.transport, host.subjects)
        self._running: dict[Delivery, Work] = {}
        self._in_hand: set[int] = set()
        """The places in the stream of those that run."""
        self._copies: dict[int, list[Delivery]] = {}
        self._admission = definition.admission
        self._gate = host.subjects.gate_key(queue, definition.name)
        self._prefix = host.subjects.task_mail(queue, definition.name)
        self._begun = 0
        """How many of those in hand have a slot."""
        self._adapts = definition.admission is None
        self._median: float | None = None
        self._adjusting = False
        self._draining = False
        self._entering: dict[Delivery, asyncio.Task[None]] = {}

    async def start(self) -> None:
        """Begin to pull."""
        host = self._host
        subjects = host.subjects
        durable = subjects.task_consumer(self._queue, self._definition.name)
        cap = None if self._admission is None else self._admission.cap
        spec = topology.consumer(subjects.task_stream, durable, self._prefix, at_a_time=-1 if cap is None else cap)
        await host.transport.ensure_consumer(spec)
        await queues.obey(host.transport, subjects, self._queue, durable, host.now())
        await self._beats.open()
        await host.hear_of_withdrawals(self.withdraw)
        host.keepers.append(self._keep_alive)
        self._consumption = await host.transport.consume(subjects.task_stream, durable, self._on_delivery, window=self._window)
        if self._admission is not None:
            # What is pulled takes a place of the whole fleet: no more is than can begin at once.
            self._slots.watch(self._slots_changed)
            self._adjust()

    async def drain(self, grace: float) -> None:
        """Pull no more, and give the bodies that run `grace` seconds to end."""
        self._draining = True
        if self._consumption is not None:
            await self._consumption.stop()
        if self._running:
            await asyncio.wait([work.task for work in self._running.values()], timeout=grace)

    async def stop(self) -> None:
        """Cancel what still runs and hand its dispatches over."""
        if self._keep_alive in self._host.keepers:
            self._host.keepers.remove(self._keep_alive)
        for delivery, entering in list(self._entering.items()):
            entering.cancel()
            delivery.nak()
        running = dict(self._running)
        for work in running.values():
            work.task.cancel()
        await asyncio.gather(*(work.task for work in running.values()), return_exceptions=True)
        for delivery in running:
            delivery.nak()

    def withdraw(self, run_id: str, serials: set[int] | None) -> None:
        """Nobody waits any more for these dispatches of a run (None: for all): their bodies are told, and no outcome is reported."""
        for work in list(self._running.values()):
            if work.dispatch.run_id == run_id and (serials is None or work.dispatch.serial in serials):
                work.withdraw()

    def _on_delivery(self, delivery: Delivery) -> None:
        # A worker that has stalled is given its own dispatch once more: the body that runs answers for both.
        if delivery.sequence in self._in_hand:
            self._copies.setdefault(delivery.sequence, []).append(delivery)
            return
        try:
            dispatch = decode_dispatch(delivery.data)
        except CodecError as error:
            self._host.unreadable.mark(delivery.subject[len(self._prefix) :].partition(".")[0], error, self._host.now())
            delivery.nak(LEFT_FOR)
            return
        except ValueError as error:
            _log.error("a dispatch of task %r cannot be decoded and is put aside: %s", self._definition.name, error)
            self._host.put_aside(delivery, self._host.subjects.task_stream, error)
            return
        if self._admission is not None and self._admission.cap is None and not self._has_passed(delivery):
            self._send_to_gate(dispatch, delivery)
            return
        self._in_hand.add(delivery.sequence)
        work = self._running[delivery] = Work(self._host, self._definition, self._beats, dispatch, delivery)
        work.task = asyncio.create_task(self._handle(work))
        self._host.work_began()

    async def _handle(self, work: Work) -> None:
        delivery = work.delivery
        reported = False
        try:
            async with self._slots:
                self._begun += 1
                try:
                    message = None if work.withdrawn else await work.outcome()
                finally:
                    self._begun -= 1
            if not work.withdrawn:
                await self._report(work.dispatch, message)
            delivery.ack()
            self._leave_gate(work.dispatch)
            reported = True
        except Poisoned as poisoned:
            reported = await self._give_up(work.dispatch, delivery, poisoned)
        except TriedElsewhere:
            delivery.nak(ANOTHER_FIRST)
        except NotConnected:
            pass
        except (OutcomeUnknown, RequestTimeout):
            delivery.nak(PAUSE)
        except CodecError as error:
            self._host.unreadable.mark(work.dispatch.run_id, error, self._host.now())
            delivery.nak(LEFT_FOR)
        finally:
            self._running.pop(delivery, None)
            self._in_hand.discard(delivery.sequence)
            work.close(settled=reported)
            for copy in self._copies.pop(delivery.sequence, ()):
                copy.ack() if reported else copy.nak(PAUSE)
            if self._median is not None:
                self._fit()

    def _fit(self) -> None:
        """Pull as many as suits a task that takes so long."""
        room = room_for(self._median, self._begun, self._slots.free, self._window)
        if self._adapts and not self._draining and self._consumption is not None and self._consumption.window != room:
            self._consumption.window = room

    async def _give_up(self, dispatch: Dispatch, delivery: Delivery, poisoned: Poisoned) -> bool:
        """The step stays as it is: who retries the letter sends this very dispatch again. False when that could not be written."""
        try:
            await bury_dispatch(self._host.dead, dispatch, delivery, poisoned)
        except TransportError as error:
            _log.error("run %s: a call of task %r could not be put into the dead-letter list: %s", dispatch.run_id, dispatch.task, error)
            delivery.nak(PAUSE)
            return False
        delivery.ack()
        self._leave_gate(dispatch)
        return True

    def _leave_gate(self, dispatch: Dispatch) -> None:
        if dispatch.place:
            door.leave(self._host.transport, self._host.subjects, self._gate, f"{dispatch.run_id}.{dispatch.serial}")

    async def _report(self, dispatch: Dispatch, message: StepResult | StepFailedOnce | None) -> None:
        if message is None:
            # Whoever recorded the outcome may have died in the very turn that this dispatch stands behind.
            await report.mail(self._host, dispatch, Resume("a dispatch was answered, but not acknowledged"), "resume")
        else:
            await report.tell(self._host, dispatch, message, "result" if isinstance(message, StepResult) else "failed")

    def _has_passed(self, delivery: Delivery) -> bool:
        """Whether the gate has let it in. Retries after a delay have not, nor what comes from code that knows nothing of the gate."""
        return delivery.subject.count(".", len(self._prefix)) > 1

    def _send_to_gate(self, dispatch: Dispatch, delivery: Delivery) -> None:
        copy = asyncio.create_task(self._enter(dispatch, delivery))
        self._entering[delivery] = copy
        copy.add_done_callback(lambda _: self._entering.pop(delivery, None))
        self._host.work_began()

    async def _enter(self, dispatch: Dispatch, delivery: Delivery) -> None:
        if not dispatch.place:
            standing = self._definition.standing(dispatch.payload)
            standing = hidden(standing) if seals(self._host.transport) else standing
            dispatch = replace(dispatch, place=place_of(standing, delivery.timestamp))
        headers = {name: value for name, value in delivery.headers.items() if not name.startswith("Nats-")}
        host, id = self._host, f"{dispatch.run_id}.{dispatch.serial}"
        try:
            await surely(
                lambda: door.enter(
                    host.transport,
                    host.subjects,
                    self._gate,
                    dispatch.place,
                    id,
                    encode(dispatch),
                    headers=headers,
                    message_id=f"{id}/wait/{delivery.sequence}",
                    again=True,
                )
            )
        except NotConnected:
            return
        delivery.ack()

    def _slots_changed(self) -> None:
        if not self._adjusting:
            self._adjusting = True
            asyncio.get_running_loop().call_later(ADJUST_AFTER, self._adjust)

    def _adjust(self) -> None:
        self._adjusting = False
        if self._consumption is not None and not self._draining:
            room = min(self._window, self._begun + max(self._slots.free, 0))
            if room != self._consumption.window:
                self._consumption.window = room

    def _keep_alive(self) -> bool:
        if self._running:
            median = self._host.tallies.task(self._definition.name).median()
            self._median = self._median if median is None else median
        if self._median is not None:
            self._fit()  # other tasks may have taken the slots, or left them
        for delivery in self._running:
            delivery.in_progress()
        for copies in self._copies.values():
            for copy in copies:
                copy.in_progress()
        for delivery in self._entering:
            delivery.in_progress()
        return bool(self._running) or bool(self._entering)
