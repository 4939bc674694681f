"""One dispatch that a task worker has in hand: its body, its signs of life, and what comes of it."""

import asyncio

from aiki import telemetry
from aiki.actors import report, topology
from aiki.actors.attempts import AttemptLimits, Ended, lost, run_attempts, step_key
from aiki.actors.beats import Beats, BeatWriter
from aiki.actors.definitions import TaskDefinition
from aiki.actors.evidence import Poisoned, Trial
from aiki.actors.held import poisoned_task
from aiki.actors.host import Host
from aiki.actors.outbox import AGAIN_HEADER
from aiki.actors.pulse import BodyPulse
from aiki.journal import PendingStep, decode_state
from aiki.transport.port import Delivery
from aiki.types.errors import TaskTimedOut
from aiki.types.failure import ErrorInfo
from aiki.types.messages import NOT_BEGUN, Dispatch, StepBegun, StepFailedOnce, StepResult
from aiki.types.retry import Retry
from aiki.types.states import is_final

__all__ = ["Work"]

REST = topology.ACK_WAIT / 2
"""Seconds between two writes of heartbeats of a task that has no limit for them."""

SLOW = 1.0
"""Seconds that a write takes whose outcome was not known at first: what was true before may not be true after."""


class Work:
    """`task` runs it. `withdrawn`: nobody waits for its outcome any more."""

    task: asyncio.Task[None]

    def __init__(self, host: Host, definition: TaskDefinition, beats: Beats, dispatch: Dispatch, delivery: Delivery) -> None:
        self.dispatch = dispatch
        self.delivery = delivery
        self.withdrawn = False
        self._host = host
        self._definition = definition
        self._beats = beats
        self._writer: BeatWriter | None = None
        self._pulse: BodyPulse | None = None
        self._begun: Trial | None = None
        """Of a body that is not to be begun twice."""

    def withdraw(self) -> None:
        """Tell the body that nobody waits for it; one that is declared so is cancelled."""
        if self.withdrawn:
            return
        self.withdrawn = True
        if self._pulse is not None:
            self._pulse.cancel()
            if self._definition.on_cancel == "raise":
                self.task.cancel()

    async def outcome(self) -> StepResult | StepFailedOnce | None:
        """Run the body, unless that is of no use any more. None: the run does not wait for this dispatch.

        `Poisoned` when it has killed so many workers that it is to be held, `TriedElsewhere` when it must wait for another suspect.
        """
        retry = self.dispatch.retry if self.dispatch.retry is not None else self._definition.retry
        if (self.delivery.attempt == 1 and AGAIN_HEADER not in self.delivery.headers) or lost(self._definition.name, retry) is not None:
            return await self._outcome(retry)
        return await self._try(retry)

    async def _try(self, retry: Retry) -> StepResult | StepFailedOnce | None:
        """The same, of a dispatch that another worker may have died of."""
        dispatch, definition = self.dispatch, self._definition
        key = self._host.subjects.taken(dispatch.run_id, dispatch.serial)
        try:
            trial = await self._host.evidence.take(key, most=definition.max_deaths)
        except Poisoned as poisoned:
            if await self._step() is None:
                return None
            if definition.on_poison == "hold":
                raise
            return self._failed(ErrorInfo.of(poisoned_task(definition.name, poisoned)))
        try:
            # That took its time: only now is it asked whether the step still waits.
            outcome = await self._outcome(retry)
        except BaseException:
            trial.given_back()
            raise
        trial.passed()  # before the outcome is told: what dies of that is not the body's fault
        return outcome

    async def _outcome(self, retry: Retry) -> StepResult | StepFailedOnce | None:
        dispatch, host = self.dispatch, self._host
        details, start_by = dispatch.details, dispatch.start_by
        if self._is_doubtful():
            step, said = await asyncio.gather(self._step(), self._beats.last(dispatch.run_id, dispatch.serial))
            if step is None:
                return None
            details = details if said is None else said
            start_by = step.start_by  # None once a worker has begun it
        if start_by is not None and host.now() >= start_by:
            return self._failed(ErrorInfo.of(TaskTimedOut("it was taken up later than its start_timeout allows", limit="start_timeout")))
        if start_by is not None and not await self._say_begun(start_by):
            return None
        if (error := lost(self._definition.name, retry)) is not None:
            # How often it was delivered proves nothing: a worker that stops hands over what it has not begun.
            before = host.now()
            self._begun = await host.evidence.begin(host.subjects.taken(dispatch.run_id, dispatch.serial))
            if self._begun is None:
                return self._failed(error)
            if host.now() - before > SLOW and await self._step() is None:
                return None  # it was recorded meanwhile, for another copy of this dispatch
        return None if self.withdrawn else await self._run(details)

    def close(self, *, settled: bool) -> None:
        """It is out of hand. Unless `settled`, another worker gets it, and its last heartbeat."""
        if self._begun is not None and settled:
            self._begun.passed()
        if self._writer is not None:
            if not settled:
                self._writer.flush()
            self._writer.close(settled=settled)

    def _is_doubtful(self) -> bool:
        """Whether another worker may have had this dispatch.

        A server that dies may forget acknowledgements and counts: what is old, or older than the last reconnect, is asked about. So is what
        has come through a gate, where it may have waited for long: its keeper may let in what is just being withdrawn.
        """
        delivery = self.delivery
        if self.dispatch.place:
            return True
        if delivery.attempt > 1 or AGAIN_HEADER in delivery.headers or delivery.timestamp < self._host.doubt_before:
            return True
        return self._host.now() - delivery.timestamp > topology.ACK_WAIT

    async def _step(self) -> PendingStep | None:
        """The step as its run has it; None when that does not wait for this dispatch.

        A worker may die between the recording of an outcome and its acknowledgement: a recorded step must not run again.
        """
        dispatch = self.dispatch
        stored = await self._host.store.read(dispatch.run_id)
        if stored is None or is_final(stored.state):
            return None
        for step in decode_state(stored.value).pending:
            if (step.address, step.ordinal, step.serial) == (dispatch.address, dispatch.ordinal, dispatch.serial):
                return step
        return None

    async def _say_begun(self, start_by: float) -> bool:
        """Tell the run, whose patience ends at `start_by`; False when that was over before it heard of us."""
        dispatch, host = self.dispatch, self._host
        begun = StepBegun(dispatch.address, dispatch.ordinal, dispatch.serial, host.worker_id, host.now())
        await report.tell(host, dispatch, begun, "begun")
        return host.now() < start_by or await self._step() is not None

    async def _run(self, details: bytes | None) -> StepResult | StepFailedOnce | None:
        dispatch, definition, host = self.dispatch, self._definition, self._host
        heartbeat = dispatch.heartbeat if dispatch.heartbeat is not None else definition.heartbeat
        every = REST if heartbeat is None else heartbeat / 2
        writer = self._writer = BeatWriter(self._beats, dispatch.run_id, dispatch.serial, every)
        pulse = self._pulse = BodyPulse(details, on_details=writer.put)
        key = step_key(dispatch.run_id, dispatch.address, dispatch.ordinal, dispatch.key)

        retry = dispatch.retry if dispatch.retry is not None else definition.retry
        timeout = dispatch.timeout if dispatch.timeout is not None else definition.timeout
        limits = AttemptLimits(timeout, heartbeat, dispatch.deadline_at)
        if self.delivery.attempt == 1:
            host.tallies.task(definition.name).waited.add(max(host.now() - self.delivery.timestamp, 0.0))

        async def body(attempt: int) -> bytes:
            payload = await host.blobs.open(dispatch.payload)
            value = await definition.execute(payload, run_id=dispatch.run_id, attempt=attempt, key=key, pulse=pulse)
            return await host.blobs.keep(value, dispatch.run_id)

        with telemetry.task_span(definition.name, dispatch.run_id, dispatch.attempt, self.delivery.headers) as span:
            try:
                ended = await run_attempts(
                    body,
                    clock=host.clock,
                    worker=host.worker_id,
                    first=dispatch.attempt,
                    first_began_at=dispatch.first_began_at,
                    retry=retry,
                    limits=limits,
                    pulse=pulse,
                    on_failure=writer.flush,
                )
            except asyncio.CancelledError:
                current = asyncio.current_task()
                if self.withdrawn and definition.on_cancel == "raise" and current is not None and current.uncancel() == 0:
                    return None
                raise
            finally:
                pulse.end()
                self._pulse = None
            if ended.error is not None:
                telemetry.fail(span, ended.error)
        host.tallies.steps += 1
        host.tallies.task(definition.name).ended(ended, host.now(), dispatch.attempt, retry, limits)
        if dispatch.cache is not None and ended.error is None:
            host.results.keep(definition.name, dispatch.cache, ended.value, dispatch.run_id)
        return self._message(ended, pulse.details)

    def _message(self, ended: Ended, details: bytes | None) -> StepResult | StepFailedOnce:
        dispatch, host = self.dispatch, self._host
        if ended.delay is not None:
            return StepFailedOnce(dispatch.address, dispatch.ordinal, dispatch.serial, ended.failed, ended.delay, details)
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

    def _failed(self, error: ErrorInfo) -> StepResult:
        """The body is not run."""
        dispatch, host = self.dispatch, self._host
        now = host.now()
        began = NOT_BEGUN if error.limit is not None else now
        return StepResult(dispatch.address, dispatch.ordinal, dispatch.serial, b"", error, began, now, host.worker_id)
