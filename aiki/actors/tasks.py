"""The task worker: pulls dispatches of one task from one queue, runs its body, and reports to the run.

The dispatch is a durable message, kept alive while the body runs and acknowledged only when the run has the outcome: told directly when its
host is this process or can be asked ("done" means committed), else by a message in the run's mailbox. If the process dies, the dispatch is
delivered again.
"""

import asyncio
import logging

from aiki.actors import queues, report, topology
from aiki.actors.beats import Beats
from aiki.actors.definitions import TaskDefinition
from aiki.actors.host import Host
from aiki.actors.unreadable import LEFT_FOR
from aiki.actors.work import Work
from aiki.transport.port import Consumption, Delivery
from aiki.types.errors import CodecError, NotConnected, OutcomeUnknown, RequestTimeout
from aiki.types.messages import Dispatch, Resume, StepFailedOnce, StepResult, decode_dispatch

__all__ = ["TaskWorker"]

PAUSE = 2.0
"""Seconds before a dispatch is taken up again that could not be dealt with."""

_log = logging.getLogger("aiki.actors")


class TaskWorker:
    """One task in one queue. `slots` bounds the bodies that run at a time, over all the tasks that share it."""

    def __init__(self, host: Host, definition: TaskDefinition, queue: str, slots: asyncio.Semaphore, window: int) -> None:
        self._host = host
        self._definition = definition
        self._queue = queue
        self._slots = slots
        self._window = window
        self._consumption: Consumption | None = None
        self._beats = Beats(host.transport, host.subjects)
        self._running: dict[Delivery, Work] = {}
        self._copies: dict[int, list[Delivery]] = {}

    async def start(self) -> None:
        """Begin to pull."""
        host = self._host
        subjects = host.subjects
        durable = subjects.task_consumer(self._queue, self._definition.name)
        prefix = subjects.task_mail(self._queue, self._definition.name)
        await host.transport.ensure_consumer(topology.consumer(subjects.task_stream, durable, prefix))
        await queues.obey(host.transport, subjects, self._queue, durable, host.now())
        await self._beats.open()
        await host.hear_of_withdrawals(self.withdraw)
        host.keepers.append(self._keep_alive)
        self._consumption = await host.transport.consume(subjects.task_stream, durable, self._on_delivery, window=self._window)

    async def drain(self, grace: float) -> None:
        """Pull no more, and give the bodies that run `grace` seconds to end."""
        if self._consumption is not None:
            await self._consumption.stop()
        if self._running:
            await asyncio.wait([work.task for work in self._running.values()], timeout=grace)

    async def stop(self) -> None:
        """Cancel what still runs and hand its dispatches over."""
        if self._keep_alive in self._host.keepers:
            self._host.keepers.remove(self._keep_alive)
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
        if delivery.attempt > 1 and any(running.sequence == delivery.sequence for running in self._running):
            self._copies.setdefault(delivery.sequence, []).append(delivery)
            return
        try:
            dispatch = decode_dispatch(delivery.data)
        except CodecError as error:
            self._host.unreadable.mark(delivery.subject.split(".")[-2], error, self._host.now())
            delivery.nak(LEFT_FOR)
            return
        except ValueError as error:
            _log.error("a dispatch of task %r cannot be decoded and is dropped: %s", self._definition.name, error)
            delivery.term("cannot be decoded")
            return
        work = self._running[delivery] = Work(self._host, self._definition, self._beats, dispatch, delivery)
        work.task = asyncio.create_task(self._handle(work))
        self._host.work_began()

    async def _handle(self, work: Work) -> None:
        delivery = work.delivery
        reported = False
        try:
            async with self._slots:
                message = None if work.withdrawn else await work.outcome()
            if not work.withdrawn:
                await self._report(work.dispatch, message)
            delivery.ack()
            reported = True
        except NotConnected:
            pass
        except (OutcomeUnknown, RequestTimeout):
            delivery.nak(PAUSE)
        except CodecError as error:
            self._host.unreadable.mark(work.dispatch.run_id, error, self._host.now())
            delivery.nak(LEFT_FOR)
        finally:
            self._running.pop(delivery, None)
            work.close(settled=reported)
            for copy in self._copies.pop(delivery.sequence, ()):
                copy.ack() if reported else copy.nak(PAUSE)

    async def _report(self, dispatch: Dispatch, message: StepResult | StepFailedOnce | None) -> None:
        if message is None:
            # Whoever recorded the outcome may have died in the very turn that this dispatch stands behind.
            await report.mail(self._host, dispatch, Resume("a dispatch was answered, but not acknowledged"), "resume")
        else:
            await report.tell(self._host, dispatch, message, "result" if isinstance(message, StepResult) else "failed")

    def _keep_alive(self) -> bool:
        for delivery in self._running:
            delivery.in_progress()
        for copies in self._copies.values():
            for copy in copies:
                copy.in_progress()
        return bool(self._running)
