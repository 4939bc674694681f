"""The task worker: pulls dispatches of one task from one queue, runs its body, and reports to the run.

The dispatch is a durable message, kept alive while the body runs and acknowledged only when the run has the outcome: told directly when its
host is this process or can be asked ("done" means committed), else by a message in the run's mailbox. If the process dies, the dispatch is
delivered again.
"""

import asyncio
import contextlib
import logging

from aiki import telemetry
from aiki.actors import topology
from aiki.actors.attempts import Ended, lost, run_attempts, step_key
from aiki.actors.definitions import TaskDefinition
from aiki.actors.envelope import DONE, WORKING
from aiki.actors.host import Host
from aiki.journal import decode_state
from aiki.transport.port import Consumption, Delivery, Message
from aiki.transport.surely import surely
from aiki.types.errors import NoResponders, NotConnected, OutcomeUnknown, RequestTimeout
from aiki.types.messages import Dispatch, Mail, Resume, StepFailedOnce, StepResult, decode_dispatch, encode
from aiki.types.states import is_final

__all__ = ["TaskWorker"]

ANSWER_WITHIN = topology.ACK_WAIT
"""Seconds without an answer ("done" or "working") from the run's host after which the mailbox is used."""
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
        self._running: dict[Delivery, asyncio.Task[None]] = {}
        self._copies: dict[int, list[Delivery]] = {}

    async def start(self) -> None:
        """Begin to pull."""
        host = self._host
        subjects = host.subjects
        durable = subjects.task_consumer(self._queue, self._definition.name)
        prefix = subjects.task_mail(self._queue, self._definition.name)
        await host.transport.ensure_consumer(topology.consumer(subjects.task_stream, durable, prefix))
        host.keepers.append(self._keep_alive)
        self._consumption = await host.transport.consume(subjects.task_stream, durable, self._on_delivery, window=self._window)

    async def drain(self, grace: float) -> None:
        """Pull no more, and give the bodies that run `grace` seconds to end."""
        if self._consumption is not None:
            await self._consumption.stop()
        if self._running:
            await asyncio.wait(list(self._running.values()), timeout=grace)

    async def stop(self) -> None:
        """Cancel what still runs and hand its dispatches over."""
        if self._keep_alive in self._host.keepers:
            self._host.keepers.remove(self._keep_alive)
        running = dict(self._running)
        for task in running.values():
            task.cancel()
        await asyncio.gather(*running.values(), return_exceptions=True)
        for delivery in running:
            delivery.nak()

    def _on_delivery(self, delivery: Delivery) -> None:
        # A worker that has stalled is given its own dispatch once more: the body that runs answers for both.
        if delivery.attempt > 1 and any(running.sequence == delivery.sequence for running in self._running):
            self._copies.setdefault(delivery.sequence, []).append(delivery)
            return
        self._running[delivery] = asyncio.create_task(self._handle(delivery))
        self._host.work_began()

    async def _handle(self, delivery: Delivery) -> None:
        try:
            dispatch = decode_dispatch(delivery.data)
        except ValueError as error:
            _log.error("a dispatch of task %r cannot be decoded and is dropped: %s", self._definition.name, error)
            delivery.term("cannot be decoded")
            self._running.pop(delivery, None)
            return
        reported = False
        try:
            async with self._slots:
                if self._doubtful(delivery) and await self._is_answered(dispatch):
                    message = None
                else:
                    message = await self._run(dispatch, delivery)
            if message is None:
                # Whoever recorded the outcome may have died in the very turn that this dispatch stands behind.
                await self._mail(dispatch, Resume("a dispatch was answered, but not acknowledged"), "resume", delivery)
            else:
                await self._report(dispatch, message, delivery)
            reported = True
        except NotConnected:
            pass
        except (OutcomeUnknown, RequestTimeout):
            delivery.nak(PAUSE)
        finally:
            self._running.pop(delivery, None)
            for copy in self._copies.pop(delivery.sequence, ()):
                copy.ack() if reported else copy.nak(PAUSE)

    def _doubtful(self, delivery: Delivery) -> bool:
        """Whether another worker may have had this dispatch.

        A server that dies may forget acknowledgements and counts: what is old, or older than the last reconnect, is asked about.
        """
        if delivery.attempt > 1 or delivery.timestamp < self._host.doubt_before:
            return True
        return self._host.now() - delivery.timestamp > topology.ACK_WAIT

    async def _is_answered(self, dispatch: Dispatch) -> bool:
        """A worker may die between the recording of an outcome and its acknowledgement: a recorded step must not run again."""
        stored = await self._host.store.read(dispatch.run_id)
        if stored is None or is_final(stored.state):
            return True
        pending = decode_state(stored.value).pending
        return not any(
            step.address == dispatch.address and step.ordinal == dispatch.ordinal and step.serial == dispatch.serial for step in pending
        )

    async def _run(self, dispatch: Dispatch, delivery: Delivery) -> Mail:
        definition, host = self._definition, self._host
        retry = dispatch.retry if dispatch.retry is not None else definition.retry
        timeout = dispatch.timeout if dispatch.timeout is not None else definition.timeout

        if delivery.attempt > 1 and (error := lost(definition.name, retry)) is not None:
            now = host.now()
            return StepResult(dispatch.address, dispatch.ordinal, dispatch.serial, b"", error, now, now, host.worker_id)
        key = step_key(dispatch.run_id, dispatch.address, dispatch.ordinal, dispatch.key)

        async def body(attempt: int) -> bytes:
            return await definition.execute(dispatch.payload, run_id=dispatch.run_id, attempt=attempt, key=key)

        with telemetry.task_span(definition.name, dispatch.run_id, dispatch.attempt, delivery.headers) as span:
            ended = await run_attempts(body, clock=host.clock, worker=host.worker_id, first=dispatch.attempt, retry=retry, timeout=timeout)
            if ended.error is not None:
                telemetry.fail(span, ended.error)
        return self._message(dispatch, ended)

    def _message(self, dispatch: Dispatch, ended: Ended) -> Mail:
        host = self._host
        if ended.delay is not None:
            return StepFailedOnce(dispatch.address, dispatch.ordinal, dispatch.serial, ended.failed, ended.delay)
        return StepResult(
            dispatch.address,
            dispatch.ordinal,
            dispatch.serial,
            ended.value,
            ended.error,
            ended.started_at,
            host.now(),
            host.worker_id,
            ended.failed,
        )

    async def _report(self, dispatch: Dispatch, message: Mail, delivery: Delivery) -> None:
        host = self._host
        if dispatch.host == host.subject:
            envelope = _TaskEnvelope(message, delivery)
            if host.deliver_warm(dispatch.run_id, envelope) and await envelope.answer:
                delivery.ack()
                return
        elif await self._ask_host(dispatch, message, delivery):
            delivery.ack()
            return
        await self._mail(dispatch, message, "result" if isinstance(message, StepResult) else "failed", delivery)

    async def _mail(self, dispatch: Dispatch, message: Mail, kind: str, delivery: Delivery) -> None:
        """Put a message into the run's mailbox, which then is what stands behind it, and settle the dispatch."""
        data = encode(message)
        message_id = f"{dispatch.run_id}/{dispatch.serial}/{kind}"
        await surely(lambda: self._host.transport.publish(dispatch.mailbox, data, message_id=message_id))
        delivery.ack()

    async def _ask_host(self, dispatch: Dispatch, message: Mail, delivery: Delivery) -> bool:
        data = dispatch.run_id.encode() + b"\n" + encode(message)

        def still_working(answer: Message) -> bool:
            return answer.data == WORKING

        try:
            answer = await self._host.transport.request(dispatch.host, data, timeout=ANSWER_WITHIN, pending=still_working)
        except (NoResponders, RequestTimeout, OutcomeUnknown):
            return False
        return answer.data == DONE

    def _keep_alive(self) -> bool:
        for delivery in self._running:
            delivery.in_progress()
        for copies in self._copies.values():
            for copy in copies:
                copy.in_progress()
        return bool(self._running)


class _TaskEnvelope:
    """A report to a run of this very process: `answer` becomes True when the run has it, False when the mailbox must be used."""

    __slots__ = ("answer", "delivery", "message")
    durable = True

    def __init__(self, message: Mail, delivery: Delivery) -> None:
        self.message = message
        self.delivery = delivery
        self.answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def done(self) -> None:
        with contextlib.suppress(asyncio.InvalidStateError):
            self.answer.set_result(True)

    def working(self) -> None:
        """The dispatch is kept alive by its worker until the answer comes."""

    def refuse(self, delay: float) -> None:
        with contextlib.suppress(asyncio.InvalidStateError):
            self.answer.set_result(False)
