"""The local steps of one run: bodies that run in the host which holds it."""

import asyncio
from collections.abc import Callable
from functools import partial

from aiki import telemetry
from aiki.actors.attempts import lost, run_attempts, step_key
from aiki.clock import Clock
from aiki.journal import Operation, PendingStep, StepId
from aiki.types.messages import Mail, StepFailedOnce, StepResult, attempts_made

__all__ = ["LocalSteps"]


class LocalSteps:
    """Runs bodies and reports what came of them to `report`."""

    def __init__(self, run_id: str, worker_id: str, clock: Clock, report: Callable[[Mail], None]) -> None:
        self._run_id = run_id
        self._worker_id = worker_id
        self._clock = clock
        self._report = report
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
        error = lost(operation.name, operation.options.retry) if begun_elsewhere else None
        if error is not None and step is not None:
            now = self._clock.now()
            self._report(StepResult(*operation.id, step.serial, b"", error, now, now, self._worker_id))
        else:
            self._running[operation.id] = asyncio.create_task(self._run(operation, step))

    def stop(self, id: StepId) -> None:
        """Cancel a body, whose outcome nobody waits for any more."""
        if (task := self._running.pop(id, None)) is not None:
            task.cancel()

    def evict(self) -> list[asyncio.Task[None]]:
        """Cancel everything; answers what is still ending."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        self._running.clear()
        return running

    async def _run(self, operation: Operation, step: PendingStep | None) -> None:
        body = operation.body
        if step is None or body is None:
            self._running.pop(operation.id, None)
            return
        options = operation.options
        address, ordinal = operation.id
        key = step_key(self._run_id, address, ordinal, options.key)
        first = attempts_made(step.failed) + 1
        with telemetry.task_span(operation.name, self._run_id, first, None) as span:
            ended = await run_attempts(
                partial(body, key), clock=self._clock, worker=self._worker_id, first=first, retry=options.retry, timeout=options.timeout
            )
            if ended.error is not None:
                telemetry.fail(span, ended.error)
        message: Mail
        if ended.delay is not None:
            message = StepFailedOnce(address, ordinal, step.serial, ended.failed, ended.delay)
        else:
            now = self._clock.now()
            message = StepResult(
                address, ordinal, step.serial, ended.value, ended.error, ended.started_at, now, self._worker_id, ended.failed
            )
        self._running.pop(operation.id, None)
        self._report(message)
