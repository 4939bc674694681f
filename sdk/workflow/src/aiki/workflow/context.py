"""The context of a run: everything durable that workflow code can do."""

import asyncio
import contextlib
import copy
import inspect
import logging
import random
import uuid
from collections.abc import Awaitable, Callable, Collection
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn, Self, TypeVar, overload

import msgspec

from aiki.client import Client, Event
from aiki.client.event import unknown_event
from aiki.client.webhooks import HookRecord
from aiki.journal import ChildRun, Outcome, Received, RunMachine, Shield, StepOptions
from aiki.schema import HASHED, Schema, content_hash, encoded, is_claim, needs_claim, result_schema, schema_for
from aiki.schema.structural import check_size
from aiki.task.interception import INTERCEPTOR
from aiki.task.thread import run_in_thread
from aiki.types.cache import CacheUse
from aiki.types.duration import Duration, seconds
from aiki.types.errors import DefinitionError, EventTimeout, RunEnded, TaskCancelled, TaskFailed, TaskPoisoned, TaskTimedOut, WorkerLost
from aiki.types.identifiers import RunId
from aiki.types.limits import LEAST_LIMIT, NO_LIMITS, Limits
from aiki.types.messages import attempts_made
from aiki.types.names import check_key, check_name
from aiki.types.pulse import Pulse
from aiki.types.retry import Retry
from aiki.webhooks import Ticket
from aiki.workflow.child import ChildHandle
from aiki.workflow.logger import RunLogger
from aiki.workflow.saga import Saga
from aiki.workflow.scope import SCOPE, Scope
from aiki.workflow.shelter import sheltered
from aiki.workflow.undo import MARK
from aiki.workflow.undoing import Undoings
from aiki.workflow.webhook import Webhook

__all__ = ["Context"]

Value = TypeVar("Value")
Payload = TypeVar("Payload")

_ANY: Schema[Any] = schema_for(Any, "result of a step")

WEEK = timedelta(days=7)

_FAILURES = {kind.code: kind for kind in (TaskCancelled, TaskTimedOut, WorkerLost, TaskPoisoned)}


class Context:
    """Given to a workflow's function. Time, chance and ids come from here, so that they are the same at each replay."""

    def __init__(
        self, machine: RunMachine, encode_input: Callable[[Any], bytes], events: Collection[str] | None = None, prefix: str = ""
    ) -> None:
        self._machine = machine
        self._encode_input = encode_input
        self._prefix = prefix
        """Tells the steps of a hook from the same ones of the workflow."""
        self._events = events
        self._rng: random.Random | None = None
        self._webhooks: dict[str, int] = {}
        self._scope: Scope | None = None
        self.undoing = Undoings(machine.state.attempt, machine.earlier(MARK), prefix)
        """What sagas of this run have undone; for them."""
        self.sagas: list[Saga] = []
        """Those whose blocks go on."""
        self.logger: logging.LoggerAdapter[logging.Logger] = RunLogger(machine)
        """Logs with the run's id, and is silent while replaying."""

    @property
    def run_id(self) -> RunId:
        """This run's id."""
        return RunId(self._machine.state.run_id)

    @property
    def workflow(self) -> str:
        """The workflow's name."""
        return self._machine.state.workflow

    @property
    def version(self) -> str:
        """The workflow's version."""
        return self._machine.state.version

    @property
    def attempt(self) -> int:
        """Which attempt of the workflow this is; 1 for the first."""
        return self._machine.state.attempt

    @property
    def generation(self) -> int:
        """How often this run has continued as new: 0 at first."""
        return self._machine.state.generation

    def now(self) -> datetime:
        """The instant of the present turn, in UTC."""
        return datetime.fromtimestamp(self._machine.now, UTC)

    @property
    def rng(self) -> random.Random:
        """A random generator that gives the same numbers at each replay. Not for secrets."""
        if self._rng is None:
            generation = f"/{self.generation}" if self.generation else ""
            self._rng = random.Random(f"{self._machine.state.origin or self.run_id}{generation}/{self.attempt}")
        return self._rng

    def random(self) -> float:
        """A number from 0 up to 1, the same at each replay."""
        return self.rng.random()

    def uuid(self) -> uuid.UUID:
        """A random UUID (version 4), the same at each replay."""
        return uuid.UUID(int=self.rng.getrandbits(128), version=4)

    async def sleep(self, duration: Duration) -> bool:
        """Sleep durably, from a millisecond to decades. `asyncio.sleep` is just as durable.

        True when the time is over, False when `handle.wake()` has ended the sleep early.
        """
        end = self._machine.now + seconds(duration, "the duration of a sleep")
        await asyncio.sleep(end - self._machine.now)
        return self._machine.now >= end

    async def continue_as_new(self, payload: Any = None) -> NoReturn:
        """Begin this run again with a new input and an empty journal: for code that would go on for ever, whose journal would too.

        The run stays the same: its id, its handle, and what events and updates have come that the code has not taken. Its code ends here;
        the workflow's `timeout` counts anew, its `deadline` does not. Tasks that are outstanding are withdrawn; sub-workflows end or go on
        as their `close` policy says. Raises `PayloadError` when `payload` does not fit the workflow, `DefinitionError` within a saga.
        """
        if self.sagas:
            raise DefinitionError("a saga is open: continue as new after its block", where="continue_as_new")
        if self._machine.state.cancelled is not None:
            raise asyncio.CancelledError
        self._machine.continue_as_new(self._machine.claims.put(self._encode_input(payload)))
        await asyncio.get_running_loop().create_future()  # the machine abandons the code
        raise AssertionError("the code has ended")

    async def wait_for(self, event: Event[Payload], *, timeout: Duration | None = None) -> Payload:
        """The next event of that name, one that has come already included; each is taken once, in the order of arrival.

        Raises `EventTimeout` when none comes in time, and `PayloadError` when one has come that does not fit (the type was changed).
        """
        received = await self._take((event,), timeout)
        return event.decode(await self.opened(received.payload))

    async def wait_for_any(self, *events: Event[Any], timeout: Duration | None = None) -> tuple[Event[Any], Any]:
        """The next event of any of these names, with its payload; the others stay for later. Raises `EventTimeout`."""
        received = await self._take(events, timeout)
        event = next(each for each in events if each.name == received.name)
        return event, event.decode(await self.opened(received.payload))

    async def wait_for_all(self, *events: Event[Any], timeout: Duration | None = None) -> tuple[Any, ...]:
        """One event of each name, in any order of arrival; answers the payloads in the order of `events`. Raises `EventTimeout`."""
        limit = None if timeout is None else self.limit(timeout, "timeout")
        patience = asyncio.timeout(limit)
        try:
            async with patience:
                return tuple(await asyncio.gather(*(self.wait_for(event) for event in events)))
        except TimeoutError as error:
            if not patience.expired():
                raise
            raise _event_timeout(events, limit) from error

    async def _take(self, events: tuple[Event[Any], ...], timeout: Duration | None) -> Received:
        for event in events:
            if not isinstance(event, Event):
                raise DefinitionError(f'wait for an event, made by event("name", type), not for {event!r}', where="wait_for")
            if self._events is not None and event.name not in self._events:
                raise unknown_event(event.name, self.workflow, self._events)
        if not events:
            raise DefinitionError("wait for at least one event", where="wait_for")
        limit = None if timeout is None else self.limit(timeout, "timeout")
        patience = asyncio.timeout(limit)
        try:
            async with patience:
                return await self._machine.inbox.take([event.name for event in events])
        except TimeoutError as error:
            if not patience.expired():
                raise
            raise _event_timeout(events, limit) from error

    async def webhook(self, name: str, payload: type[Payload] = Any, *, expires: Duration = WEEK) -> Webhook[Payload]:  # type: ignore[assignment]
        """A URL that somebody outside may answer to, once, until it `expires`: `hook.url`, then `await hook.wait(timeout=…)`.

        The URL is signed and good for this wait alone; hooks of one name are told apart by their order. It begins with `$AIKI_PUBLIC_URL`
        (of the worker), where the gateway answers it; `client.deliver_webhook` takes answers on any other way. Answers that are not of the
        type `payload` are refused.
        """
        number = self._webhooks[check_name(name, "webhook")] = self._webhooks.get(name, 0) + 1
        limit = seconds(expires, f"expires of webhook {name!r}", least=1.0)
        where = f"answer to webhook {name!r}"
        schema = schema_for(payload, where)
        state, expires_at = self._machine.state, self._machine.now + limit

        async def body(key: str, attempt: int, pulse: Pulse | None) -> bytes:
            client = self.client
            ticket = Ticket(client.region, state.run_id, state.workflow, state.version, name, number, expires_at)
            return msgspec.json.encode(HookRecord(await client.webhooks.url(ticket), expires_at, number, schema.json_schema()))

        content = msgspec.json.encode([name, number, limit])
        data = await self.run_step(HookRecord.step(name), content, body=body, key=None, queue=None, retry=None, timeout=None)
        return Webhook(self._machine, name, msgspec.json.decode(data, type=HookRecord), schema)

    async def publish(self, data: Any) -> None:
        """Tell whoever watches the run (`handle.updates()`), with its next commit; replayed code publishes nothing again."""
        self._machine.publish(_ANY.encode(data, "what the workflow publishes"))

    def patched(self, id: str) -> bool:
        """Whether to run new code: `if ctx.patched("2026-fraud-check"): await check.run(ctx, order)`.

        True in runs that come here for the first time now, and ever after; False in those that came by before the change, which go on
        the old way. Once no run is left that the change is new to, take the old code away; once none is left that knows it, the call.
        """
        return self._machine.patched(check_name(id, "patch"))

    def shielded(self) -> Shield:
        """`async with ctx.shielded():` the cancellation of the run interrupts this task only after the block."""
        return Shield()

    def saga(self) -> Saga:
        """`async with ctx.saga() as saga: await saga.run(charge, payment, undo=refund)`: what was done is undone when the block fails."""
        return Saga(self)

    async def end_sagas(self) -> None:
        """The code has failed: sagas whose blocks still go on, in other asyncio tasks, are cancelled, and so undone."""
        here = asyncio.current_task()
        tasks = [saga.task for saga in self.sagas if saga.task is not None and saga.task is not here]
        if tasks:
            for task in tasks:
                task.cancel()
            await sheltered(_all_over(tasks), "sagas")

    def within(self, scope: Scope | None) -> Self:
        """This context, with another identity for what is issued through it."""
        if scope is None:
            return self
        narrowed = copy.copy(self)
        narrowed._scope = scope
        return narrowed

    async def send(self, run_id: str, event: Event[Payload], payload: Payload, *, region: str = "") -> None:
        """Send an event to another run, durably and once. Raises `TaskFailed` when there is no such run, or it has ended."""
        data = event.encode(payload)

        async def body(key: str, attempt: int, pulse: Pulse | None) -> bytes:
            await self.client.in_region(region).run(run_id, "?", "?").send(event, payload, idempotency_key=key)
            return b"null"

        content = msgspec.json.encode([run_id, event.name, msgspec.Raw(data)])
        await self.run_step("send", content, body=body, key=None, queue=None, retry=None, timeout=None)

    async def cancel(self, run_id: str, reason: str = "", *, region: str = "") -> None:
        """Cancel another run, durably. One that has ended stays as it is; `TaskFailed` when there is none."""

        async def body(key: str, attempt: int, pulse: Pulse | None) -> bytes:
            with contextlib.suppress(RunEnded):
                await self.client.in_region(region).run(run_id, "?", "?").cancel(reason)
            return b"null"

        await self.run_step("cancel", msgspec.json.encode([run_id, reason]), body=body, key=None, queue=None, retry=None, timeout=None)

    @property
    def client(self) -> Client:
        """The worker's client, for the bodies of steps: `await ctx.step("look", lambda: look(ctx.client))`. It records nothing."""
        client = self._machine.environment
        if not isinstance(client, Client):
            raise DefinitionError("messages to other runs need a worker: there is no way out of a replay", where="context")
        return client

    async def opened(self, data: bytes) -> bytes:
        """A payload that was recorded: itself, or the large one whose claim it is."""
        return await self._machine.opened(data) if is_claim(data) else data

    def limit(self, duration: Duration, what: str) -> float:
        """A time-out in seconds; `DefinitionError` when it is none."""
        return seconds(duration, what, least=0.001)

    def child(
        self, child: ChildRun, payload: bytes, output: Schema[Value], idempotency_key: str | None
    ) -> "tuple[ChildHandle[Value], asyncio.Future[Outcome]]":
        """Start a sub-workflow; for `Workflow.start` and the like."""
        scope = self._scope or SCOPE.get()
        if scope is not None and idempotency_key is not None:
            idempotency_key = scope.key(check_key(idempotency_key))
            child = msgspec.structs.replace(child, key=idempotency_key)
        hashed = payload
        if child.region and needs_claim(payload):
            check_size(payload, f"input of child {child.workflow!r} in region {child.region!r}")  # another region has another blob store
        else:
            payload = self._machine.claims.put(payload)
        if len(hashed) > HASHED:
            hashed = payload
        key = None if idempotency_key is None else f"child/{child.version}/{check_key(idempotency_key)}"
        content = "c" + (content_hash(hashed) if scope is None else scope.address(hashed))
        known, future = self._machine.issue_child(child, payload, content, key)
        return ChildHandle(self, known, future, output), future

    @overload
    async def step(
        self,
        name: str,
        function: Callable[[], Awaitable[Value]],
        *,
        retry: Retry | None = None,
        timeout: Duration | None = None,
        deadline: Duration | None = None,
    ) -> Value: ...
    @overload
    async def step(
        self,
        name: str,
        function: Callable[[], Value],
        *,
        retry: Retry | None = None,
        timeout: Duration | None = None,
        deadline: Duration | None = None,
    ) -> Value: ...

    async def step(
        self,
        name: str,
        function: Callable[[], Any],
        *,
        retry: Retry | None = None,
        timeout: Duration | None = None,
        deadline: Duration | None = None,
    ) -> Any:
        """Run a function here, once, and record what it returns (JSON, or the type that its annotation declares).

        A plain function runs in a thread. Its result is what JSON makes of it, also the first time: without an annotation a tuple comes
        back as a list. Calls with the same name are told apart by their order. `timeout` bounds one attempt, `deadline` all of them.
        """
        check_name(name, "step")
        if not callable(function):
            raise DefinitionError(f"step {name!r} takes a function, for example `lambda: read(path)`, not {function!r}", where="step")
        what = f"step {name!r}"
        schema = _ANY if getattr(function, "__name__", "<lambda>") == "<lambda>" else result_schema(function, what)

        async def body(key: str, attempt: int, pulse: Pulse | None) -> bytes:
            interceptor = INTERCEPTOR.get()
            return await (call() if interceptor is None else interceptor.step(name, self.run_id, call))

        async def call() -> bytes:
            if inspect.iscoroutinefunction(function):
                value = await function()
            else:
                value = await run_in_thread(function)
                if asyncio.iscoroutine(value):
                    value = await value
            return await encoded(schema, value, f"result of {what}")

        limit = None if timeout is None else seconds(timeout, f"timeout of {what}", least=LEAST_LIMIT)
        limits = Limits.of(what, deadline=deadline, start_timeout=None, heartbeat=None)
        data = await self.run_step(name, b"null", body=body, key=None, queue=None, retry=retry, timeout=limit, limits=limits)
        return schema.decode(data, f"result of {what}")

    async def run_step(
        self,
        name: str,
        payload: bytes,
        *,
        body: Callable[[str, int, Pulse | None], Awaitable[bytes]] | None,
        key: str | None,
        queue: str | None,
        retry: Retry | None,
        timeout: float | None,
        limits: Limits = NO_LIMITS,
        cache: CacheUse | None = None,
        standing: str = "",
    ) -> bytes:
        """Record a step; for `Task.run` and the like. Raises `TaskFailed` when it failed for good."""
        if retry is not None and not isinstance(retry, Retry):
            raise DefinitionError(f"{name!r}: retry must be a Retry, for example Retry.fixed(…), not {retry!r}", where="retry")
        if key is not None:
            check_key(key)
        scope = self._scope or SCOPE.get()
        if scope is not None and key is not None:
            key = scope.key(key)
        machine = self._machine
        hashed, payload = payload, machine.claims.put(payload)
        if len(hashed) > HASHED:
            hashed = payload
        options = StepOptions(queue, retry, timeout, key, limits, cache=cache, standing=standing)
        address = content_hash(hashed) if scope is None else scope.address(hashed)
        content = self._prefix + address if key is None else ""
        outcome = await machine.issue("task" if body is None else "local", name, payload, content, options, body)
        if outcome.error is None:
            return await self.opened(outcome.value)
        raise _task_error(name, outcome)


async def _all_over(tasks: list[asyncio.Task[Any]]) -> None:
    await asyncio.wait(tasks)


def _event_timeout(events: tuple[Event[Any], ...], limit: float | None) -> EventTimeout:
    names = [event.name for event in events]
    return EventTimeout(f"no event {' or '.join(map(repr, names))} came within {limit:g} s", events=names, timeout=limit)


def _task_error(name: str, outcome: Outcome) -> TaskFailed:
    error = outcome.error
    kind = _FAILURES.get(error.code or "", TaskFailed) if error is not None else TaskFailed
    attempts = attempts_made(outcome.failed) + outcome.begun
    times = "" if attempts == 1 else f" after {attempts or 'no'} attempts"
    limit = {} if error is None or kind is not TaskTimedOut else {"limit": error.limit or "timeout"}
    return kind(f"task {name!r} failed{times}: {error}", task=name, error=error, attempts=attempts, **limit)
