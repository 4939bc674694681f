"""A handle of a run: how a client follows it."""

import asyncio
import itertools
import secrets
from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, overload

import msgspec

from aiki.actors.history import Recorded
from aiki.client.address import Mailbox
from aiki.client.again import begin_again
from aiki.client.asking import query, update
from aiki.client.changes import Changes
from aiki.client.event import Event, unknown_event
from aiki.client.family import read_tree
from aiki.client.history import RunHistory
from aiki.client.holders import read_line
from aiki.client.limits import at_gates
from aiki.client.places import find_step
from aiki.client.repeated import recorded_before, waits_already
from aiki.client.views import Progress, RunStatus, RunView, StepView, progress, queued_status, queued_view, run_status, run_view
from aiki.journal import RunState, decode_state
from aiki.kv import STATE_HEADER
from aiki.schema import Schema, decoded, needs_claim, schema_for
from aiki.transport.port import Message
from aiki.types.duration import Duration, seconds
from aiki.types.errors import (
    KeyMissing,
    NotRetryable,
    OutcomeUnknown,
    RequestTimeout,
    ResultTimeout,
    RunNotFound,
    StepNotFound,
    WorkflowCancelled,
    WorkflowFailed,
    WorkflowTimedOut,
)
from aiki.types.identifiers import RunId, is_run_id
from aiki.types.messages import Again, Cancel, CancelStep, Ended, EndSleep, Fork, Pause, Reset, Start, Unpause
from aiki.types.messages import Event as EventWord
from aiki.types.names import check_key
from aiki.types.states import is_final

if TYPE_CHECKING:
    from aiki.client.client import Client

__all__ = ["RunHandle"]

Output = TypeVar("Output")
Payload = TypeVar("Payload")
Result = TypeVar("Result", covariant=True)

UNKNOWN = "?"
"""The workflow and version of a handle by an id that nothing is known of."""

LOOK_FIRST, LOOK_MOST = 2.0, 30.0
"""Seconds, doubling, after which a waiting client reads the run though nothing was announced: announcements are not durable."""

_ENDS = {"failed": WorkflowFailed, "cancelled": WorkflowCancelled, "timed_out": WorkflowTimedOut}


SAME: Any = object()
"""The input of the run that is forked."""

_ANY: Schema[Any] = schema_for(Any, "input of a fork")


class Forkable(Protocol[Result]):
    """What a fork needs of a workflow."""

    name: str
    version: str

    @property
    def events(self) -> frozenset[str] | None: ...
    @property
    def input_schema(self) -> Schema[Any]: ...
    @property
    def output_schema(self) -> Schema[Result]: ...


class RunHandle(Generic[Output]):
    """One run, by id. Made by `workflow.enqueue(client, …)` or `workflow.handle(client, run_id)`."""

    def __init__(
        self,
        client: "Client",
        run_id: RunId,
        workflow: str,
        version: str,
        output: Schema[Output],
        events: Collection[str] | None = None,
        *,
        by_id: bool = False,
    ) -> None:
        self.id = run_id
        self.workflow = workflow
        self.version = version
        self._client = client
        self._output = output
        self._events = events
        self._by_id = by_id
        """Made without the workflow's code: which events it declares, its workers tell."""
        self._mailbox = Mailbox(client, run_id, workflow, version)

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
            result = await self._client.blobs.open(ended.result or b"null")
            output: Output = await decoded(self._output, result, f"result of workflow {self.workflow!r}")
            return output
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
                    try:
                        client.ends.tell(_ended(decode_state(message.data)))
                    except KeyMissing:
                        client.ends.look_again()  # whoever reads is told

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
            found = await self._client.load(self.id)
            if found is None:
                await self._check_exists()
        except (OutcomeUnknown, RequestTimeout):
            return None
        if found is None or not is_final(found[0].status):
            return None
        if key := found[0].locked:
            raise KeyMissing(f"it is sealed with key {key!r}, which is not known here", key=key)
        return _ended(found[0])

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
            status = run_status(found[0], await at_gates(self._client, found[0]), await read_line(self._client, found[0]))
            return await self._client.stalls.judge(status, found[0])
        start = await self._client.waiting_start(self.workflow, self.version, self.id)
        if start is not None:
            return await self._client.stalls.judge(queued_status(start, await self._client.now()), start)
        if (found := await self._client.load(self.id)) is None:
            raise self._missing()
        return run_status(found[0])

    async def wake(self) -> None:
        """End the sleep of the run that would end first, now; `ctx.sleep` answers False then. A run that does not sleep goes on as it was.

        Raises `RunNotFound` and `RunEnded`.
        """
        await self._mailbox.say(EndSleep(id=secrets.token_hex(8)), "woken")

    async def cancel(self, reason: str = "") -> None:
        """Interrupt the run's code with `asyncio.CancelledError`: it may clean up with durable steps, within the workflow's `cleanup` time.

        When this has returned, the run will end: as cancelled (`wait_for_completion` raises `WorkflowCancelled`) when its code lets the
        interruption through, else as the code decides: a clean-up that raises something else fails it. Its queued tasks are withdrawn,
        those that run are told (`TaskContext.cancelled`), late results are refused. Once is enough: the second call changes nothing.
        Raises `RunNotFound` and `RunEnded`.
        """
        await self._mailbox.say(Cancel(id=secrets.token_hex(8), reason=reason), "cancelled")

    async def terminate(self, reason: str = "") -> None:
        """End the run without asking its code, which cannot clean up. Raises `RunNotFound` and `RunEnded`."""
        await self._mailbox.say(Cancel(id=secrets.token_hex(8), reason=reason, terminate=True), "terminated")

    async def retry(self, reason: str = "") -> None:
        """Go on where the run has failed, was cancelled or has timed out: completed steps are kept, failed ones run again.

        The workflow's code begins anew, as at an attempt of its own, and its time limits count from now. When this has returned, the run
        will go on. Raises `NotRetryable` when it has not ended or is completed, and `RunNotFound`.
        """
        word = Again(id=secrets.token_hex(8), reason=reason)
        await self._mailbox.say_to_ended(word)
        await begin_again(self._client, self.id, word)
        self._client.ends.forget(self.id)

    async def reset(self, to_step: str | StepView, *, call: int = 1, reason: str = "") -> None:
        """Take the run back to before a step of it ended, wherever it stands: that step runs again, and all that follows.

        `to_step`: its name, of which the `call`-th call is meant, or one of `describe().steps`. What was recorded before it stands, sleeps
        included; the code need not be the same any more. What is outstanding is withdrawn, events that came since are kept, and the time
        limits count from now. Steps that run again have the idempotency keys that they had; sub-workflows are new runs.
        When this has returned, the run will go back. Raises `StepNotFound`, `RunNotFound`, and `NotRetryable` for a copy from an
        archive.
        """
        found = await self._recorded()
        if found.state.imported:
            raise NotRetryable(f"run {self.id} is a copy from an archive", run_id=self.id, state=found.state.status)
        address, ordinal = find_step(self.id, found.journal, to_step, call)
        word = Reset(id=secrets.token_hex(8), address=address, ordinal=ordinal, reason=reason)
        await self._mailbox.put(await self._mailbox.find(), word, f"{self.id}/{word.id}")
        await begin_again(self._client, self.id, word)
        self._client.ends.forget(self.id)

    @overload
    async def fork(
        self,
        workflow: None = None,
        *,
        to_step: str | StepView | None = None,
        call: int = 1,
        payload: Any = SAME,
        version: str | None = None,
        idempotency_key: str | None = None,
    ) -> "RunHandle[Output]": ...
    @overload
    async def fork(
        self,
        workflow: "Forkable[Result]",
        *,
        to_step: str | StepView | None = None,
        call: int = 1,
        payload: Any = SAME,
        idempotency_key: str | None = None,
    ) -> "RunHandle[Result]": ...

    async def fork(
        self,
        workflow: "Forkable[Any] | None" = None,
        *,
        to_step: str | StepView | None = None,
        call: int = 1,
        payload: Any = SAME,
        version: str | None = None,
        idempotency_key: str | None = None,
    ) -> "RunHandle[Any]":
        """Start a new run that begins with this one's journal, up to before `to_step` ended (None: with the whole of it).

        `workflow`: its code, for example a newer version (None: the same, or its `version` of that name); `payload`: its input, if that
        is to be another one. Steps that
        the new run's code calls with the same input are found in the journal; what it does not call any more means nothing, and the rest
        runs. This run stays as it is. Raises `StepNotFound`, `RunNotFound`, `PayloadError`.
        """
        found = await self._recorded()
        state = found.state
        fork = Fork(self.id)
        if to_step is not None:
            fork = Fork(self.id, *find_step(self.id, found.journal, to_step, call))
        if payload is SAME:
            data = state.input
        else:
            what = f"input of workflow {self.workflow!r}"
            data = (workflow.input_schema if workflow is not None else _ANY).encode(payload, what, large=True)
        return await self._client.start_run(
            state.workflow if workflow is None else workflow.name,
            version or state.version if workflow is None else workflow.version,
            data,
            self._output if workflow is None else workflow.output_schema,
            idempotency_key=idempotency_key,
            events=self._events if workflow is None else workflow.events,
            fork=fork,
            is_claimed=payload is SAME,
        )

    async def _recorded(self) -> Recorded:
        found = await self._client.recorded(self.id)
        if found is None:
            await self._check_exists()
            raise StepNotFound(f"run {self.id} has not begun: it has no steps", run_id=self.id, step="", known=[])
        readable(found.state)
        return found

    async def cancel_task(self, name: str, reason: str = "") -> None:
        """Withdraw the outstanding calls of a task (or step, or sub-workflow) by name: the code that waits for them gets `TaskCancelled`.

        Without any, nothing happens. Raises `RunNotFound` and `RunEnded`.
        """
        await self._mailbox.say(CancelStep(id=secrets.token_hex(8), name=name, reason=reason), "told to cancel a task")

    async def pause(self, reason: str = "") -> None:
        """Let the run's code rest, wherever it is. What comes and falls due meanwhile is recorded and waits for `resume`.

        Tasks that are queued or running go on. Raises `RunNotFound` and `RunEnded`.
        """
        await self._mailbox.say(Pause(id=secrets.token_hex(8), reason=reason), "paused")

    async def resume(self) -> None:
        """End the pause: the code goes on with what has come, in that order. A run that is not paused goes on as it was.

        Raises `RunNotFound` and `RunEnded`.
        """
        await self._mailbox.say(Unpause(id=secrets.token_hex(8)), "resumed")

    async def send(self, event: Event[Payload], payload: Payload, *, idempotency_key: str | None = None) -> None:
        """Send an event. When this has returned, the run gets it, now or (buffered) when it waits for it.

        Events that one client sends to one run arrive in the order of its calls. With an `idempotency_key`, one counts once per run: the
        second call changes nothing, also when the run has ended meanwhile; with another payload it is an `IdempotencyConflict`.
        Raises `PayloadError` before anything is stored, `RunNotFound`, `RunEnded`, and `UnknownEvent` when the workflow declares its events
        and this is none of them.
        """
        if self._events is not None and event.name not in self._events:
            raise unknown_event(event.name, self.workflow, self._events)
        data = event.encode(payload)
        if needs_claim(data):
            await self._mailbox.find()  # there is such a run
            data = await self._client.blobs.keep(data, self.id)
        id = secrets.token_hex(8) if idempotency_key is None else f"k/{event.name}/{check_key(idempotency_key)}"
        if idempotency_key is not None and await recorded_before(self._client, self.id, id, idempotency_key, data):
            return
        address = await self._mailbox.find_open("sent events")
        if self._by_id:
            await self._client.declared.check(event.name, address.workflow, address.version)
        word = EventWord(id=id, name=event.name, payload=data)
        if await self._mailbox.put(address, word, f"{self.id}/{id}") or idempotency_key is None:
            return
        if not await waits_already(self._client, self.id, address.workflow, address.version, id, idempotency_key, data):
            # The stream remembers it from a run of this id (it has an idempotency key) that has expired since.
            await self._mailbox.put(address, word, f"{self.id}/{id}/{secrets.token_hex(8)}")

    async def query(self, name: str, payload: Any = None) -> Any:
        """Ask for a view of the run's variables, as the workflow's `@order.query(name)` makes it; nothing is written.

        Raises `QueryFailed` (also when the run has ended), `RunNotFound`, and `UnknownWorkflow` when no worker serves the workflow.
        """
        return await query(self._client, self._mailbox, self.id, name, payload)

    async def update(self, name: str, payload: Any = None, *, idempotency_key: str | None = None, timeout: Duration | None = None) -> Any:
        """Send a message that the workflow's `@order.update(name)` handles, and answer what that returns. Durable, and applied once.

        With an `idempotency_key`, calls with the same key are one update and get the same answer, also when the run has ended meanwhile;
        with another payload that is an `IdempotencyConflict`. Raises `UpdateFailed` with what the handler raised, `RunNotFound`,
        `RunEnded`, and `ResultTimeout` when `timeout` is over first (it may still be applied).
        """
        if idempotency_key is not None:
            check_key(idempotency_key)
        limit = None if timeout is None else seconds(timeout, "timeout")
        return await update(self._client, self._mailbox, self.id, name, payload, idempotency_key, limit)

    async def updates(self) -> AsyncGenerator[Progress, None]:
        """What the run's code publishes (`ctx.publish`), from the latest on; it ends with the run.

        Of what is published faster than it is taken, the newest are shown. Raises `RunNotFound`.
        """
        last = 0
        async with aclosing(Changes(self._client, self.id, self._present, every=True).commits()) as commits:
            async for state, _ in commits:
                fresh = [each for each in state.published if each.number > last] if state is not None else []
                for each in fresh if last else fresh[-1:]:
                    last = each.number
                    yield progress(each)

    async def describe(self, *, tree: bool = False) -> RunView:
        """Everything about the run: each step with its attempts, inputs, outputs, times and workers; what it waits for; its messages.

        `tree`: its sub-workflows are read as well, and theirs. `RunNotFound` when there is none.
        """
        found = await self._client.recorded(self.id, peek=True)
        if found is None:
            start = await self._client.waiting_start(self.workflow, self.version, self.id)
            if start is not None:
                return await self._judged(queued_view(start, await self._client.now()), start)
            if (found := await self._client.recorded(self.id, peek=True)) is None:
                raise self._missing()
        state, revision, journal = found
        children = await read_tree(self._client, state, journal) if tree else ()
        at_gate = await at_gates(self._client, state)
        return await self._judged(run_view(state, journal, revision, children, at_gate, await read_line(self._client, state)), state)

    async def _judged(self, view: RunView, waiting: RunState | Start) -> RunView:
        status = await self._client.stalls.judge(view.status, waiting)
        return view if status is view.status else msgspec.structs.replace(view, status=status)

    async def history(self) -> RunHistory:
        """The run as it is recorded now, to keep in a file and replay (`aiki.testing.replay`). `RunNotFound` when there is none yet."""
        seen = 0
        while (found := await self._client.store.read(self.id)) is not None:
            state = decode_state(found.value)
            pairs = itertools.pairwise([state.base, *state.sealed])
            try:
                segments = await asyncio.gather(*(self._client.store.segment(self.id, begin, end) for begin, end in pairs))
            except LookupError:
                if found.revision == seen:
                    raise
                seen = found.revision  # it has gone on while it was read
                continue
            return RunHistory(run_id=self.id, workflow=state.workflow, version=state.version, state=found.value, segments=tuple(segments))
        raise self._missing()

    def changes(self) -> AsyncGenerator[RunView, None]:
        """The run as it is now, then again after each commit; it ends after the final state. `RunNotFound` when there is no such run.

        Follows live announcements, not by polling, and reads the run again after a reconnect. Revisions only grow; of commits that come
        faster than they are taken only the newest is shown. Leave it early with `contextlib.aclosing`: that ends the subscription at once.
        """
        return self._views()

    async def _views(self) -> AsyncGenerator[RunView, None]:
        async with aclosing(Changes(self._client, self.id, self._present).commits()) as commits:
            async for state, revision in commits:
                try:
                    view = None if state is None else run_view(state, await self._client.history(state), revision)
                except LookupError:
                    view = None  # it has gone on since
                yield await self.describe() if view is None else view

    async def _present(self) -> tuple[RunState | None, int]:
        found = await self._client.load(self.id)
        if found is None:
            await self._check_exists()
        return found if found is not None else (None, 0)


def readable(state: RunState) -> RunState:
    """`KeyMissing` when this is only the public part of a state."""
    if state.locked:
        raise KeyMissing(f"it is sealed with key {state.locked!r}, which is not known here", key=state.locked)
    return state


def _ended(state: RunState) -> Ended:
    readable(state)
    return Ended(state.run_id, state.status, state.result, state.error)
