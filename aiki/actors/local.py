"""The local steps of one run: bodies that run in the host which holds it, and lookups of cached results."""

import asyncio
from collections.abc import Callable

import msgspec

from aiki import telemetry
from aiki.actors.attempts import NO_LIMITS, AttemptLimits, lost, run_attempts, step_key
from aiki.actors.blobs import Blobs
from aiki.actors.pulse import BodyPulse
from aiki.actors.results import Results
from aiki.actors.tally import Tallies
from aiki.clock import Clock
from aiki.journal import Operation, PendingStep, StepId
from aiki.types.messages import NOT_BEGUN, CacheMissed, Mail, StepFailedOnce, StepResult, attempts_made

__all__ = ["LocalSteps"]


class LocalSteps:
    """Runs bodies and reports what came of them to `report`."""

    def __init__(
        self,
        run_id: str,
        worker_id: str,
        clock: Clock,
        report: Callable[[Mail], None],
        results: Results,
        tallies: Tallies,
        blobs: Blobs,
    ) -> None:
        self._run_id = run_id
        self._worker_id = worker_id
        self._clock = clock
        self._report = report
        self._results = results
        self._tallies = tallies
        self._blobs = blobs
        self._running: dict[StepId, asyncio.Task[None]] = {}
        self._inherited: set[StepId] = set()

    def __bool__(self) -> bool:
        return bool(self._running)

    def __contains__(self, id: StepId) -> bool:
        return id in self._running

    def inherit(self, ids: set[StepId]) -> None:
        """The steps that another host may have begun."""
        self._inherited = ids

    def begin(self, operation: Operation, step: PendingStep | None) -> None:
        """Run a step, unless it runs already."""
        if operation.id in self._running:
            return
        begun_elsewhere = operation.id in self._inherited
        self._inherited.discard(operation.id)
        error = lost(operation.name, operation.options.retry) if begun_elsewhere and operation.kind == "local" else None
        if error is not None and step is not None:
            now = self._clock.now()
            self._report(StepResult(*operation.id, step.serial, b"", error, now, now, self._worker_id))
        else:
            self._running[operation.id] = asyncio.create_task(self._run(operation, step))

    def end_all_but(self, pending: Callable[[StepId], PendingStep | None]) -> None:
        """Cancel the bodies of steps that are over: their time was, or nobody waits for them any more."""
        for id in [id for id in self._running if pending(id) is None]:
            self._running.pop(id).cancel()

    def evict(self) -> list[asyncio.Task[None]]:
        """Cancel everything; answers what is still ending."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        self._running.clear()
        return running

    async def _run(self, operation: Operation, step: PendingStep | None) -> None:
        body = operation.body
        options = operation.options
        address, ordinal = operation.id
        use = options.cache
        if step is not None and use is not None and not step.failed:
            found = await self._results.find(operation.name, use)
            if found.value is not None:
                now = self._clock.now()
                self._end(operation.id, StepResult(address, ordinal, step.serial, found.value, None, NOT_BEGUN, now, "", cached=True))
                return
            if body is None:
                self._end(operation.id, CacheMissed(address, ordinal, found.revision))
                return
            use = msgspec.structs.replace(use, revision=found.revision)
        if step is None or body is None:
            self._running.pop(operation.id, None)
            return
        key = step_key(self._run_id, address, ordinal, options.key)
        first = attempts_made(step.failed) + 1 if step.failed else 1
        pulse = BodyPulse(step.details)
        limits = NO_LIMITS
        if options.timeout is not None or options.limits.heartbeat is not None or step.deadline_at is not None:
            limits = AttemptLimits(options.timeout, options.limits.heartbeat, step.deadline_at)

        async def attempt(number: int) -> bytes:
            return await self._blobs.keep(await body(key, number, pulse), self._run_id)

        with telemetry.task_span(operation.name, self._run_id, first, None) as span:
            try:
                ended = await run_attempts(
                    attempt,
                    clock=self._clock,
                    worker=self._worker_id,
                    first=first,
                    first_began_at=step.first_began_at,
                    retry=options.retry,
                    limits=limits,
                    pulse=pulse,
                )
            finally:
                pulse.end()
            if ended.error is not None:
                telemetry.fail(span, ended.error)
        self._tallies.steps += 1
        self._tallies.task(operation.name).ended(ended, self._clock.now(), first, options.retry, limits)
        message: Mail
        if ended.delay is not None:
            message = StepFailedOnce(address, ordinal, step.serial, ended.failed, ended.delay, pulse.details)
        else:
            if use is not None and ended.error is None:
                self._results.keep(operation.name, use, ended.value, self._run_id)
            now = self._clock.now()
            message = StepResult(
                address, ordinal, step.serial, ended.value, ended.error, ended.started_at, now, self._worker_id, ended.failed
            )
        self._end(operation.id, message)

    def _end(self, id: StepId, message: Mail) -> None:
        # A body that was to be cancelled and would not hear of it: its step is over, or another's by now.
        if self._running.get(id) is asyncio.current_task():
            del self._running[id]
            self._report(message)
