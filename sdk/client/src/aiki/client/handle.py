"""A handle of a run: how a client follows it."""

import asyncio
import secrets
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec

from aiki.client.changes import Changes
from aiki.client.history import RunHistory
from aiki.client.views import RunStatus, RunView, queued_status, queued_view, run_status, run_view
from aiki.journal import RunState, decode_state
from aiki.kv import STATE_HEADER
from aiki.schema import Schema
from aiki.transport.port import Message
from aiki.types.duration import Duration, seconds
from aiki.types.errors import (
    OutcomeUnknown,
    RequestTimeout,
    ResultTimeout,
    RunEnded,
    RunNotFound,
    WorkflowCancelled,
    WorkflowFailed,
    WorkflowTimedOut,
)
from aiki.types.identifiers import RunId, is_run_id
from aiki.types.messages import Ended, EndSleep, Start
from aiki.types.states import is_final

if TYPE_CHECKING:
    from aiki.client.client import Client

__all__ = ["RunHandle"]

Output = TypeVar("Output")

UNKNOWN = "?"
"""The workflow and version of a handle by an id that nothing is known of."""

LOOK_FIRST, LOOK_MOST = 2.0, 30.0
"""Seconds, doubling, after which a waiting client reads the run though nothing was announced: announcements are not durable."""

_ENDS = {"failed": WorkflowFailed, "cancelled": WorkflowCancelled, "timed_out": WorkflowTimedOut}


class RunHandle(Generic[Output]):
    """One run, by id. Made by `workflow.enqueue(client, …)` or `workflow.handle(client, run_id)`."""

    def __init__(self, client: "Client", run_id: RunId, workflow: str, version: str, output: Schema[Output]) -> None:
        self.id = run_id
        self.workflow = workflow
        self.version = version
        self._client = client
        self._output = output

    def __repr__(self) -> str:
        return f"<run {self.id} of workflow {self.workflow!r}>"

    async def wait_for_completion(self, timeout: Duration | None = None) -> Output:
        """The workflow's result, once it has ended.

        Waits on the run's live announcements, not by polling, and reads the run again after a reconnect. Raises `WorkflowFailed`,
        `WorkflowCancelled` or `WorkflowTimedOut` when it ended otherwise, `ResultTimeout` when `timeout` is over first (the run goes on),
        `RunNotFound`.
        """
        limit = None if timeout is None else seconds(timeout, "timeout")
        patience = asyncio.timeout(limit)
        try:
            async with patience:
                ended = await self._end()
        except TimeoutError as error:
            if not patience.expired():
                raise
            raise ResultTimeout(f"run {self.id} has not ended within {limit:g} s; it goes on", run_id=self.id, timeout=limit) from error
        if ended.status == "completed":
            return self._output.decode(ended.result or b"null", f"result of workflow {self.workflow!r}")
        why = f": {ended.error}" if ended.error is not None else ""
        raise _ENDS[ended.status](
            f"run {self.id} of workflow {self.workflow!r} {ended.status}{why}", run_id=self.id, workflow=self.workflow, error=ended.error
        )

    async def _end(self) -> Ended:
        """How the run ended."""
        client = self._client
        if not is_run_id(self.id):
            raise self._missing()
        with client.ends.waiting(self.id) as told:
            if client.ends.expected(self.id):
                return await self._wait(told, look=False)

            def committed(message: Message) -> None:
                if is_final(message.headers.get(STATE_HEADER, "")):
                    client.ends.tell(_ended(decode_state(message.data)))

            # Subscribe first, then read: what happens in between is announced.
            watching = await client.transport.subscribe(client.subjects.live_prefix + self.id, committed)
            try:
                return await self._wait(told, look=True)
            finally:
                await watching.stop()

    async def _wait(self, told: "asyncio.Queue[Ended | None]", *, look: bool) -> Ended:
        patience = LOOK_FIRST if self._client.looks_again else None
        while True:
            if look and (ended := await self._look()) is not None:
                return ended
            look = True
            try:
                async with asyncio.timeout(patience):
                    if (ended := await told.get()) is not None:
                        return ended
            except TimeoutError:
                patience = min((patience or LOOK_FIRST) * 2, LOOK_MOST)

    async def _look(self) -> Ended | None:
        """Read the run; None when it has not ended, or when the store is away (its return will be announced)."""
        try:
            stored = await self._client.store.read(self.id)
            if stored is None:
                await self._check_exists()
        except (OutcomeUnknown, RequestTimeout):
            return None
        return _ended(decode_state(stored.value)) if stored is not None and is_final(stored.state) else None

    async def _check_exists(self) -> None:
        if (
            await self._client.waiting_start(self.workflow, self.version, self.id) is None
            and await self._client.store.read(self.id) is None
        ):
            raise self._missing()

    def _missing(self) -> RunNotFound:
        of = "" if self.workflow == UNKNOWN else f" of workflow {self.workflow!r}"
        return RunNotFound(f"there is no run {self.id!r}{of} in region {self._client.region!r}", run_id=self.id)

    async def get_status(self) -> RunStatus:
        """The run's present state. `RunNotFound` when there is none."""
        found = await self._client.load(self.id)
        if found is not None:
            return await self._client.stalls.judge(run_status(found[0]), found[0])
        start = await self._client.waiting_start(self.workflow, self.version, self.id)
        if start is not None:
            return await self._client.stalls.judge(queued_status(start, await self._client.now()), start)
        if (found := await self._client.load(self.id)) is None:
            raise self._missing()
        return run_status(found[0])

    async def wake(self) -> None:
        """End the sleep of the run that would end first, now; `ctx.sleep` answers False then. A run that does not sleep goes on as it was.

        Raises `RunNotFound`, also for a run that no worker has taken up yet, and `RunEnded`.
        """
        found = await self._client.load(self.id)
        if found is None:
            raise self._missing()
        state, _ = found
        if is_final(state.status):
            raise RunEnded(f"run {self.id} has {state.status}: it cannot be woken", run_id=self.id, state=state.status)
        await self._client.mail(state, EndSleep(secrets.token_hex(8)))

    async def describe(self) -> RunView:
        """Everything about the run: each step with its attempts, inputs, outputs, times and workers. `RunNotFound` when there is none."""
        found = await self._client.load(self.id)
        if found is None:
            start = await self._client.waiting_start(self.workflow, self.version, self.id)
            if start is not None:
                return await self._judged(queued_view(start, await self._client.now()), start)
            if (found := await self._client.load(self.id)) is None:
                raise self._missing()
        state, revision = found
        return await self._judged(run_view(state, await self._client.history(state), revision), state)

    async def _judged(self, view: RunView, waiting: RunState | Start) -> RunView:
        status = await self._client.stalls.judge(view.status, waiting)
        return view if status is view.status else msgspec.structs.replace(view, status=status)

    async def history(self) -> RunHistory:
        """The run as it is recorded now, to keep in a file and replay (`aiki.testing.replay`). `RunNotFound` when there is none yet."""
        found = await self._client.store.read(self.id)
        if found is None:
            raise self._missing()
        state = decode_state(found.value)
        ends = list(zip([0, *state.sealed], state.sealed, strict=False))
        segments = await asyncio.gather(*(self._client.store.segment(self.id, begin, end) for begin, end in ends))
        return RunHistory(run_id=self.id, workflow=state.workflow, version=state.version, state=found.value, segments=tuple(segments))

    def changes(self) -> AsyncGenerator[RunView, None]:
        """The run as it is now, then again after each commit; it ends after the final state. `RunNotFound` when there is no such run.

        Follows live announcements, not by polling, and reads the run again after a reconnect. Revisions only grow; of commits that come
        faster than they are taken only the newest is shown. Leave it early with `contextlib.aclosing`: that ends the subscription at once.
        """
        return Changes(self._client, self.id, self.describe).views()


def _ended(state: RunState) -> Ended:
    return Ended(state.run_id, state.status, state.result, state.error)
