"""Messages to many runs at once, with a report per run."""

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import Any, Literal, Protocol, TypeVar

from aiki.client.event import Event
from aiki.client.handle import UNKNOWN, RunHandle
from aiki.client.views import RunStatus
from aiki.types.errors import AikiError, DefinitionError
from aiki.types.identifiers import RunId
from aiki.types.names import check_key
from aiki.types.states import is_final

__all__ = ["Done", "Many", "Report"]

Payload = TypeVar("Payload")

AT_A_TIME = 64

Done = Literal["sent", "cancelled", "terminated", "paused", "resumed", "retried", "reset", "forked"]

Report = dict[RunId, Done | AikiError]
"""What became of the message, for each run: it has it, durably, or why not (`RunEnded`, `RunNotFound`, `UnknownEvent`, …)."""

Progress = Callable[[int], None]
"""Called with the number of runs that are dealt with, after each."""


class Runs(Protocol):
    """What is needed of a client."""

    def runs(self, *, workflow: str | None = None, state: str | None = None, limit: int | None = None) -> AsyncIterator[RunStatus]: ...
    def run(self, run_id: str, workflow: str, version: str) -> RunHandle[Any]: ...


class Many:
    """The part of a client that talks to many runs: those of `ids`, or those that a filter finds.

    A filter names the `workflow`, the `state`, or both; without a state it finds the runs that have not ended. What is found is what there
    is while it is looked for; runs that begin meanwhile may be missed. A message that fails for one run does not keep it from the others.
    `progress` is called with the number of runs dealt with. Raises `DefinitionError` when neither `ids` nor a filter is given, or both.
    """

    async def send_many(
        self: Runs,
        event: Event[Payload],
        payload: Payload,
        ids: Iterable[str] | None = None,
        *,
        workflow: str | None = None,
        state: str | None = None,
        idempotency_key: str | None = None,
        progress: Progress | None = None,
    ) -> Report:
        """Send an event to each of many runs. `PayloadError` before any is sent.

        With an `idempotency_key` the whole can be repeated: each run gets the event once.
        """
        event.encode(payload)
        if idempotency_key is not None:
            check_key(idempotency_key)
        return await _tell(
            self, "sent", lambda run: run.send(event, payload, idempotency_key=idempotency_key), ids, workflow, state, progress
        )

    async def cancel_many(
        self: Runs,
        ids: Iterable[str] | None = None,
        *,
        workflow: str | None = None,
        state: str | None = None,
        reason: str = "",
        progress: Progress | None = None,
    ) -> Report:
        """Cancel many runs: see `RunHandle.cancel`."""
        return await _tell(self, "cancelled", lambda run: run.cancel(reason), ids, workflow, state, progress)

    async def terminate_many(
        self: Runs,
        ids: Iterable[str] | None = None,
        *,
        workflow: str | None = None,
        state: str | None = None,
        reason: str = "",
        progress: Progress | None = None,
    ) -> Report:
        """End many runs without asking their code: see `RunHandle.terminate`."""
        return await _tell(self, "terminated", lambda run: run.terminate(reason), ids, workflow, state, progress)

    async def pause_many(
        self: Runs,
        ids: Iterable[str] | None = None,
        *,
        workflow: str | None = None,
        state: str | None = None,
        reason: str = "",
        progress: Progress | None = None,
    ) -> Report:
        """Pause many runs: see `RunHandle.pause`."""
        return await _tell(self, "paused", lambda run: run.pause(reason), ids, workflow, state, progress)

    async def resume_many(
        self: Runs,
        ids: Iterable[str] | None = None,
        *,
        workflow: str | None = None,
        state: str | None = None,
        progress: Progress | None = None,
    ) -> Report:
        """End the pause of many runs: see `RunHandle.resume`. Of a filter without a state only paused runs are meant."""
        state = "paused" if ids is None and state is None else state
        return await _tell(self, "resumed", lambda run: run.resume(), ids, workflow, state, progress)

    async def retry_many(
        self: Runs,
        ids: Iterable[str] | None = None,
        *,
        workflow: str | None = None,
        state: str | None = None,
        reason: str = "",
        progress: Progress | None = None,
    ) -> Report:
        """Retry many runs: see `RunHandle.retry`. Of a filter without a state only failed runs are meant."""
        state = "failed" if ids is None and state is None else state
        return await _tell(self, "retried", lambda run: run.retry(reason), ids, workflow, state, progress)

    async def reset_many(
        self: Runs,
        ids: Iterable[str] | None = None,
        *,
        to_step: str,
        call: int = 1,
        workflow: str | None = None,
        state: str | None = None,
        reason: str = "",
        progress: Progress | None = None,
    ) -> Report:
        """Take many runs back to a step: see `RunHandle.reset`. Of a filter without a state only failed runs are meant."""
        state = "failed" if ids is None and state is None else state
        return await _tell(self, "reset", lambda run: run.reset(to_step, call=call, reason=reason), ids, workflow, state, progress)

    async def fork_many(
        self: Runs,
        ids: Iterable[str] | None = None,
        *,
        to_step: str | None = None,
        call: int = 1,
        version: str | None = None,
        workflow: str | None = None,
        state: str | None = None,
        idempotency_key: str | None = None,
        progress: Progress | None = None,
    ) -> dict[RunId, RunHandle[Any] | AikiError]:
        """Fork many runs: see `RunHandle.fork`. Answers the new run of each, or why there is none. Of a filter without a state only failed
        runs are meant. With an `idempotency_key` the whole can be repeated: each run is forked once.
        """
        state = "failed" if ids is None and state is None else state
        forks: dict[RunId, RunHandle[Any] | AikiError] = {}

        async def fork(run: RunHandle[Any]) -> None:
            key = None if idempotency_key is None else f"{idempotency_key}/{run.id}"
            forks[run.id] = await run.fork(to_step=to_step, call=call, version=version, idempotency_key=key)

        report = await _tell(self, "forked", fork, ids, workflow, state, progress)
        return {run_id: outcome if isinstance(outcome, AikiError) else forks[run_id] for run_id, outcome in report.items()}


async def _tell(
    client: Runs,
    done: Done,
    say: Callable[[RunHandle[Any]], Awaitable[None]],
    ids: Iterable[str] | None,
    workflow: str | None,
    state: str | None,
    progress: Progress | None,
) -> Report:
    if isinstance(ids, str):
        raise DefinitionError(f"ids are several, not the one string {ids!r}", what="ids")
    if (ids is None) == (workflow is None and state is None):
        raise DefinitionError("name the runs by ids, or by a workflow, a state, or both", what="ids")
    report: Report = {}
    dealt_with = itertools.count(1)
    slots = asyncio.Semaphore(AT_A_TIME)

    async def tell(run_id: RunId) -> None:
        try:
            await say(client.run(run_id, UNKNOWN, UNKNOWN))
        except AikiError as error:
            report[run_id] = error
        finally:
            slots.release()
        if progress is not None:
            progress(next(dealt_with))

    async with aclosing(_given(ids) if ids is not None else _found(client, workflow, state)) as targets, asyncio.TaskGroup() as group:
        async for run_id in targets:
            if run_id not in report:
                report[run_id] = done
                await slots.acquire()
                group.create_task(tell(run_id))
    return report


async def _given(ids: Iterable[str]) -> AsyncGenerator[RunId, None]:
    for run_id in ids:
        yield RunId(run_id)


async def _found(client: Runs, workflow: str | None, state: str | None) -> AsyncGenerator[RunId, None]:
    async for status in client.runs(workflow=workflow, state=state):
        if state is not None or not is_final(status.state):
            yield status.id
