"""The client: starts runs and finds them again."""

import asyncio
import os
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterator, Sequence
from contextlib import aclosing
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from aiki import telemetry
from aiki.actors import history, roster
from aiki.actors.blobs import Blobs
from aiki.actors.gatherings import Gatherings
from aiki.actors.history import Recorded
from aiki.actors.lines import Lines
from aiki.actors.server_clock import ServerClock
from aiki.actors.versions import RetiredVersions
from aiki.client.advice import Advice, advise
from aiki.client.blobs import UNREFERENCED_FOR, BlobView, Collected, collect_blobs, list_blobs
from aiki.client.cached import CachedView, clear_cached, invalidate_cached, read_cached
from aiki.client.dead_letters import DeadLetters
from aiki.client.debounced import start_debounced
from aiki.client.declared import Declared
from aiki.client.ends import Ends
from aiki.client.event import Event
from aiki.client.handle import UNKNOWN, RunHandle
from aiki.client.history import RunHistory
from aiki.client.holders import find_or_reserve, refuses
from aiki.client.imports import KEPT, import_history
from aiki.client.limits import LimitView, read_limits
from aiki.client.many import Many
from aiki.client.queues import QueueView, pause_queue, read_queues, resume_queue
from aiki.client.remembered import BoundedMap
from aiki.client.schedule_views import ScheduleView
from aiki.client.schedules import ScheduleHandle, Schedules
from aiki.client.served import find_served
from aiki.client.stalled import STALLED_AFTER, Stalls
from aiki.client.versions import VersionView, list_versions, retire, show_version, unretire
from aiki.client.views import RunStatus, queued_status, run_status
from aiki.client.webhooks import Delivered, Webhooks
from aiki.clock import Clock, SystemClock
from aiki.codec import Codec
from aiki.entities import Caller
from aiki.journal import Entry, RunState, decode_state, peek_state
from aiki.kv import MeasureStore, RunStore
from aiki.schema import Schema, claim_of, payload_hash
from aiki.sealing import sealed
from aiki.transport.port import Ack, Transport
from aiki.transport.surely import surely
from aiki.types.debounce import Debounce
from aiki.types.duration import Duration, seconds
from aiki.types.errors import DefinitionError, IdempotencyConflict, KeyMissing
from aiki.types.identifiers import RunId, is_run_id, keyed_run_id, new_run_id
from aiki.types.messages import Fork, Start, decode_mail, encode, peek_mail
from aiki.types.names import check_key, check_name
from aiki.types.run_limit import RunLimit
from aiki.types.states import STATES, is_final
from aiki.types.subjects import Subjects
from aiki.types.trigger import Trigger

__all__ = ["DEFAULT_URL", "Client", "OnConflict"]

Output = TypeVar("Output")
Payload = TypeVar("Payload")
OnConflict = Literal["error", "return_existing"]

DEFAULT_URL = "nats://127.0.0.1:4222"
MOST_REMEMBERED = 10_000
START_WITHIN = 60.0
"""Seconds for which a start is repeated while its outcome is unknown: well inside the stream's dedupe window, so it is stored once."""


class Client(Many):
    """A connection to Aiki in one region. Make it with `connect`; `async with` closes it.

    `looks_again`: whether a run that is waited for is read from time to time though nothing was announced. Announcements are not durable;
    on a transport that loses none this may be False. `clock`: this machine's. Instants are told by the server's clock, which is read from
    time to time; not when `reads_server_clock` is False, for tests in which both are the same. `stalled_after`: how long a run may wait
    for a worker that nobody runs before it shows as `stalled` (default: `$AIKI_STALLED_AFTER`, in seconds, or 60 seconds).
    """

    def __init__(
        self,
        transport: Transport,
        *,
        region: str = "default",
        clock: Clock | None = None,
        looks_again: bool = True,
        reads_server_clock: bool = True,
        stalled_after: Duration | None = None,
        codec: Codec | None = None,
    ) -> None:
        self.looks_again = looks_again
        self.codec = codec
        """Seals all that this client, and a worker that is made of it, stores and sends."""
        transport, self.sealer = sealed(transport, codec)
        self.transport = transport
        if codec is not None:
            telemetry.be_discreet()
        self.region = region
        self._regions: dict[str, Client] = {}
        self.subjects = Subjects(region)
        self.reads_server_clock = reads_server_clock
        self.clock = self.server_clock(clock or SystemClock())
        self.store = RunStore(transport, self.subjects)
        self.lines = Lines(transport, self.subjects, self.clock.now)
        """Of runs of workflows with a limit."""
        self.gatherings = Gatherings(transport, self.subjects)
        """Of debounced starts."""
        self.blobs = Blobs(transport, self.subjects, self.clock.now, secret=codec is not None)
        """Large payloads: puts claims in their place, and back."""
        self.ends = Ends(transport, self.subjects)
        self.said: BoundedMap[str, str] = BoundedMap(MOST_REMEMBERED)
        """The id of what was asked of a run last, by run."""
        self.stalls = Stalls(self, _patience(stalled_after))
        self.webhooks = Webhooks(self)
        """Signs the URLs of webhooks, and takes what comes there."""
        self.caller = Caller(transport, self.subjects, self.clock)
        """Asks and tells actors."""
        self.declared = Declared(self)
        self.retired = RetiredVersions(transport, self.subjects)
        """Which versions take no new runs."""

    @classmethod
    async def connect(
        cls,
        url: str | None = None,
        *,
        region: str | None = None,
        timeout: float = 5.0,
        stalled_after: Duration | None = None,
        codec: Codec | None = None,
        **options: Any,
    ) -> Self:
        """Connect to NATS (default: `$AIKI_URL` or `nats://127.0.0.1:4222`) for `region` (default: `$AIKI_REGION` or "default").

        `codec`: encrypts payloads, results and errors, for example `AesGcmCodec(keys={"k1": key}, active="k1")`; everything that reads or
        runs the same runs needs its keys. `options` go to the NATS client (`user_credentials`, `tls`, …).
        Raises `NotConnected`, `JetStreamDisabled`, `ServerTooOld`, and `KeyMissing` when a provider has no key to seal with.
        """
        from aiki.transport.jetstream import JetStreamTransport

        seconds(timeout, "timeout", least=0.001)
        _patience(stalled_after)
        if url is not None and not isinstance(url, str):
            raise DefinitionError(f"the address of NATS must be a string, not {url!r}", what="url")
        subject_region = region if region is not None else os.environ.get("AIKI_REGION", "default")
        Subjects(subject_region)
        if codec is not None:
            await codec.prepare()
        transport = await JetStreamTransport.connect(url or os.environ.get("AIKI_URL", DEFAULT_URL), timeout=timeout, **options)
        return cls(transport, region=subject_region, stalled_after=stalled_after, codec=codec)

    def server_clock(self, clock: Clock) -> Clock:
        """The server's clock, told by a machine's."""
        return ServerClock(self.transport, self.subjects.mail_stream, clock) if self.reads_server_clock else clock

    async def now(self) -> float:
        """The instant now by the server's clock."""
        if isinstance(self.clock, ServerClock):
            await self.clock.fresh()
        return self.clock.now()

    async def close(self) -> None:
        """End the connection."""
        await self.transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    def in_region(self, region: str) -> "Client":
        """A client of another region on the same NATS, over this connection ("": this one)."""
        if region in ("", self.region):
            return self
        if region not in self._regions:
            other = Client(self.transport, region=region, clock=self.clock, looks_again=self.looks_again, reads_server_clock=False)
            other.codec, other.sealer = self.codec, self.sealer
            other.blobs = Blobs(self.transport, other.subjects, other.clock.now, secret=self.codec is not None)
            self._regions[region] = other
        return self._regions[region]

    # -- schedules

    def schedule(self, id: str) -> ScheduleHandle:
        """A handle of a schedule that exists already, by id alone: payloads are plain JSON values."""
        from aiki.schema import schema_for

        return ScheduleHandle(self, id, schema_for(Any, "payload"))

    async def schedules(self) -> AsyncIterator[ScheduleView]:
        """All schedules, by id."""
        async for view in Schedules(self).all():
            yield view

    # -- webhooks

    async def deliver_webhook(self, token: str, body: bytes) -> Delivered:
        """Give a webhook's answer (JSON; empty: null) to the run that waits for it; `token` is the last part of the hook's URL.

        A hook takes one answer: to any other it says "already_received", and the run never sees that. Raises `WebhookInvalid` for a token
        that we have not signed, `WebhookExpired`, `PayloadError` when the body does not fit the hook's type, before anything is stored,
        `RunEnded`, `RunNotFound`, and `RequestTimeout` when the run has given the URL away and has not recorded it within seconds.
        """
        return await self.webhooks.deliver(token, body)

    async def rotate_webhook_key(self, *, forget: bool = False) -> None:
        """Let a new key sign the URLs of webhooks from now on; within a minute all workers use it.

        URLs that are out there stay good, unless `forget`: then all of them are `WebhookInvalid` within that minute.
        """
        await self.webhooks.rotate(forget=forget)

    # -- queues

    async def pause_queue(self, name: str, reason: str = "", *, until: datetime | None = None) -> None:
        """Let no worker take up a task of this queue until `resume_queue`, or until that instant.

        Durable, and for workers that start later as well. Tasks that run go on, others wait in the queue: runs go on as far as they can
        without them. Local steps are in no queue.
        """
        await pause_queue(self, name, reason, until)

    async def resume_queue(self, name: str) -> None:
        """End the pause of a queue. One that is not paused goes on as it was."""
        await resume_queue(self, name)

    async def queues(self) -> list[QueueView]:
        """The queues that workers have served, or that are paused, by name."""
        return await read_queues(self)

    # -- versions

    async def retire_version(self, workflow: str, version: str, reason: str = "") -> None:
        """Let this version of a workflow take no new runs: starts are refused with `VersionRetired`, by everybody within seconds.

        Runs that there are go on, and so must the workers that serve them, until `version(…).drained`. A schedule that starts it notes
        each firing as refused; a sub-workflow of that version fails.
        """
        await retire(self, workflow, version, reason)

    async def unretire_version(self, workflow: str, version: str) -> None:
        """Let it take new runs again."""
        await unretire(self, workflow, version)

    async def versions(self, workflow: str | None = None) -> list[VersionView]:
        """The versions that workers serve, that schedules start, or that are retired: of one workflow, or of all."""
        return await list_versions(self, workflow)

    async def version(self, workflow: str, version: str) -> VersionView:
        """One version, with what still uses it: its runs are counted, so every stored run is read."""
        return await show_version(self, workflow, version)

    # -- dead letters

    def dead_letters(self, *, kind: str | None = None, workflow: str | None = None, run_id: str | None = None) -> DeadLetters:
        """What was given up: `async for letter in client.dead_letters()`, and `get`, `retry` and `drop` by id.

        `kind` ("task", "run" or "message"), `workflow` and `run_id` filter what is iterated over.
        """
        return DeadLetters(self, kind=kind, workflow=workflow, run_id=run_id)

    # -- cached results of tasks

    async def cached(self, task: str | None = None) -> list[CachedView]:
        """The results that are cached now, of one task or of all, by task and id."""
        return await read_cached(self, task)

    async def invalidate_cached(self, task: str, id: str) -> None:
        """Forget a result by its id; `task.cache.invalidate(client, payload)` is the way by its payload."""
        await invalidate_cached(self, task, id)

    async def clear_cached(self, task: str) -> int:
        """Forget all cached results of a task; answers how many there were."""
        return await clear_cached(self, task)

    # -- large payloads

    async def list_blobs(self) -> list[BlobView]:
        """The large payloads of the region that are stored apart from the runs that refer to them."""
        return await list_blobs(self)

    async def collect_blobs(self, *, older_than: Duration = UNREFERENCED_FOR) -> Collected:
        """Delete the large payloads that no run refers to any more, and that have not been used for `older_than` (12 hours at least).

        The timer service does so every hour.
        """
        return await collect_blobs(self, older_than=older_than)

    async def limits(self, task: str | None = None) -> list[LimitView]:
        """The limits of tasks that workers have served, with what waits for them and what is at work, of each key; or those of one task."""
        return await read_limits(self, task)

    # -- starting

    async def start_run(
        self,
        workflow: str,
        version: str,
        payload: bytes,
        output: Schema[Output],
        *,
        idempotency_key: str | None = None,
        on_conflict: OnConflict = "error",
        trigger: Trigger | None = None,
        events: Collection[str] | None = None,
        fork: Fork | None = None,
        priority: int = 0,
        limit: RunLimit | None = None,
        debounce: Debounce | None = None,
        is_claimed: bool = False,
    ) -> RunHandle[Output]:
        """Start a run of a workflow by name, with a payload that is JSON already; `Workflow.enqueue` is the typed way.

        `limit`: what the workflow declares. Without it, what is over the limit is found out by the worker that takes the start up.

        When it has returned, the run happens, whatever dies after that. One round trip; two with an idempotency key; more for a large
        payload. `is_claimed`: it was read from a run, so it may be a claim.
        """
        if trigger is not None and not isinstance(trigger, Trigger):
            raise DefinitionError(f"trigger must be a Trigger, for example Trigger.after(60), not {trigger!r}", what="trigger")
        if on_conflict not in ("error", "return_existing"):
            raise DefinitionError(f'on_conflict must be "error" or "return_existing", not {on_conflict!r}', what="on_conflict")
        if idempotency_key is not None:
            check_key(idempotency_key)
        check_name(workflow, "workflow")
        check_name(version, "version")
        if debounce is not None:
            if not isinstance(debounce, Debounce):
                raise DefinitionError(f"debounce must be a Debounce, for example Debounce(key, 5), not {debounce!r}", what="debounce")
            if idempotency_key is not None or trigger is not None or fork is not None:
                raise DefinitionError(
                    "a debounced start has a run and an instant of its own: no idempotency_key, no trigger", what="debounce"
                )
        if limit is not None:
            limit.key(payload)  # refused here rather than later
        run_id = new_run_id() if idempotency_key is None else keyed_run_id(workflow, idempotency_key)
        if not is_claimed:
            payload = await self.blobs.keep(payload, run_id)
        elif (claim := claim_of(payload)) is not None:
            await self.blobs.hold(claim, run_id)
        await self.ends.listen()
        with telemetry.client_span("enqueue", workflow, run_id):
            trace = telemetry.carry()
            now = await self.now()
            due = trigger.due(now) if trigger is not None else now
            start = Start(
                run_id,
                workflow,
                version,
                payload,
                payload_hash(payload),
                now,
                idempotency_key,
                trace,
                self.ends.subject,
                due=due if due > now else None,
                fork=fork,
                salt=self._salt(),
                priority=priority,
            )
            if debounce is not None:
                await self.retired.check(workflow, version)
                return RunHandle(self, await start_debounced(self, start, debounce), workflow, version, output, events)
            if limit is not None and refuses(limit, start):
                await self.retired.check(workflow, version)
                existing = None if idempotency_key is None else await self._recorded_hash(start)
                if existing is None and (other := await find_or_reserve(self, start, limit)) is not None:
                    return RunHandle(self, RunId(other.run_id), workflow, other.version, output, events)
            if idempotency_key is None:
                await self.retired.check(workflow, version)
                self.ends.expect(run_id)
                await self.send_start(start)
            elif (existing := await self._start_keyed(start)) is not None and on_conflict == "error":
                self._compare(start, existing)
        return RunHandle(self, run_id, workflow, version, output, events)

    def _salt(self) -> bytes:
        return secrets.token_bytes(16) if self.codec is not None and self.codec.active is not None else b""

    async def send_start(self, start: Start, message_id: str | None = None) -> bool:
        """Store the start; False when it was stored before."""
        data = encode(start)
        sure = await surely(lambda: self._store_start(start, data, message_id or f"{start.run_id}/start"), within=START_WITHIN)
        return not sure.repeated and not sure.answer.duplicate

    def _store_start(self, start: Start, data: bytes, message_id: str) -> "asyncio.Future[Ack]":
        target = self.subjects.run_start(start.workflow, start.version, start.run_id)
        headers = start.trace or None
        if start.due is None:
            return self.transport.publish(target, data, message_id=message_id, headers=headers)
        subject = self.subjects.delayed_start(start.run_id)
        return self.transport.schedule(subject, start.due, target, data, message_id=message_id, headers=headers)

    async def _start_keyed(self, start: Start) -> bytes | None:
        """Start under a key; answers the payload hash of the run that had the key already, None when this call began it."""
        existing = await self._recorded_hash(start)
        if existing is None:
            await self.retired.check(start.workflow, start.version)
        if existing is not None or await self.send_start(start):
            return existing
        # Stored a moment ago by somebody: it waits in the mailbox (perhaps another version's), or a worker has just taken it up.
        waiting = await self.waiting_start(start.workflow, start.version, start.run_id)
        if waiting is not None:
            return _readable(waiting).input_hash
        if (existing := await self._recorded_hash(start)) is not None:
            return existing
        # The run has ended and expired, and the stream still remembers its start: this is another run.
        await self.send_start(start, f"{start.run_id}/start/{secrets.token_hex(8)}")
        return None

    async def _recorded_hash(self, start: Start) -> bytes | None:
        """The payload hash of the run that has the key, be it delayed, waiting for a worker, or taken up; None when there is none."""
        stream = self.subjects.mail_stream
        delayed, waiting, stored = await asyncio.gather(
            self.transport.last(stream, self.subjects.delayed_start(start.run_id)),
            self.transport.last(stream, self.subjects.run_start(start.workflow, start.version, start.run_id)),
            self.store.read(start.run_id),
        )
        if stored is not None and not (state := decode_state(stored.value)).imported:
            return state.input_hash
        for message in (waiting, delayed):
            if message is not None and isinstance(earlier := decode_mail(message.data), Start):
                return earlier.input_hash
        return None

    def _compare(self, start: Start, recorded: bytes) -> None:
        if recorded != start.input_hash:
            raise IdempotencyConflict(
                f"workflow {start.workflow!r} was started with idempotency key {start.key!r} before, with another payload "
                f"(recorded {recorded.hex()[:12]}…, new {start.input_hash.hex()[:12]}…)",
                key=start.key,
                run_id=start.run_id,
                recorded_hash=recorded.hex(),
                new_hash=start.input_hash.hex(),
            )

    # -- finding

    async def waiting_start(self, workflow: str, version: str, run_id: str) -> Start | None:
        """The start of a run that no worker has taken up yet, or that waits for its instant."""
        if not is_run_id(run_id):
            return None
        # The delayed one first: when it fires in between, it is found in the mailbox.
        stored = await self.transport.last(self.subjects.mail_stream, self.subjects.delayed_start(run_id))
        if stored is None:
            stored = await self.transport.last(self.subjects.mail_stream, self.subjects.run_start(workflow, version, run_id))
        if stored is None:
            return await self.find_start(run_id)  # under an idempotency key, it may be another version's
        message = peek_mail(stored.data)
        return message if isinstance(message, Start) else None

    async def load(self, run_id: str) -> tuple[RunState, int] | None:
        """A run's state and revision, as the store has them now; without its key the public part, whose `locked` says so."""
        if not is_run_id(run_id):
            return None
        stored = await self.store.read(run_id)
        if stored is None:
            return None
        state = peek_state(stored.value)
        if state.imported and await self.waiting_start(state.workflow, state.version, run_id) is not None:
            return None  # a run of its own is about to take the place of this copy
        return state, stored.revision

    async def history(self, state: RunState) -> list[Entry]:
        """A run's whole journal, sealed segments included. `LookupError` when the run has gone on and parts of this one are gone."""
        return await history.load(self.store, state)

    async def recorded(self, run_id: str, *, peek: bool = False) -> Recorded | None:
        """A run's state, revision and whole journal, as the store has them now. `peek`: without its key what is public; else it raises."""
        return await history.read(self.store, run_id, peek=peek) if is_run_id(run_id) else None

    async def runs(self, *, workflow: str | None = None, state: str | None = None, limit: int | None = None) -> AsyncIterator[RunStatus]:
        """Runs, filtered by workflow and state: those that no worker has taken up yet, then those in the store, each by id, descending.

        Ids of runs that were started without an idempotency key begin with their time: of these, the newest come first.
        """
        if state is not None and state not in STATES:
            raise DefinitionError(f"there is no state {state!r} of a run; there are {', '.join(STATES)}", what="state")
        found = 0
        async with aclosing(self._all_runs(state)) as runs:
            async for run in runs:
                if state in (None, run.state) and (workflow is None or run.workflow == workflow):
                    yield run
                    found += 1
                    if limit is not None and found >= limit:
                        return

    async def _all_runs(self, state: str | None) -> AsyncGenerator[RunStatus, None]:
        # The mailboxes first: what leaves them in between is in the store by then.
        delayed = await self.transport.subjects(self.subjects.mail_stream, f"{self.subjects.timer_prefix}*.start")
        starts = await self.transport.subjects(self.subjects.mail_stream, f"{self.subjects.mail_prefix}run.*.*.*.start")
        waiting = {subject.split(".")[-2]: subject for subject in (*delayed, *starts)}
        ids = await self.store.ids()
        for run_id in ids:
            waiting.pop(run_id, None)
        if state in (None, "queued", "scheduled", "stalled"):
            for some in _batches(sorted(waiting, reverse=True)):
                read = (self.transport.last(self.subjects.mail_stream, waiting[run_id]) for run_id in some)
                for message in await asyncio.gather(*read):
                    if message is not None and isinstance(start := peek_mail(message.data), Start):
                        yield await self.stalls.judge(queued_status(start, await self.now()), start)
        for some in _batches(sorted(ids, reverse=True)):
            for stored in await asyncio.gather(*(self.store.read(run_id) for run_id in some)):
                if stored is None or (state not in (None, stored.state) and (state != "stalled" or is_final(stored.state))):
                    continue
                found = peek_state(stored.value)
                yield await self.stalls.judge(run_status(found), found)

    async def handle(self, run_id: str) -> RunHandle[Any]:
        """A handle by id alone, whose result is a plain JSON value. `RunNotFound` is raised by its methods."""
        from aiki.schema import schema_for

        found = await self.load(run_id)
        if found is None:
            start = await self.find_start(run_id)
            name, version = (start.workflow, start.version) if start is not None else (UNKNOWN, UNKNOWN)
        else:
            name, version = found[0].workflow, found[0].version
        return RunHandle(self, RunId(run_id), name, version, schema_for(Any, "result"), by_id=True)

    def run(self, run_id: str, workflow: str, version: str) -> RunHandle[Any]:
        """A handle of a run whose workflow is known."""
        from aiki.schema import schema_for

        return RunHandle(self, RunId(run_id), workflow, version, schema_for(Any, "result"), by_id=True)

    async def import_history(self, history: RunHistory, *, keep: Duration = KEPT) -> RunHandle[Any]:
        """Bring a run back for a look, from an archive or an exported history; the copy expires after `keep` (default: a day).

        Its code never runs, it cannot be retried, and it takes no idempotency key: a start under its key begins a run of its own in its
        place. Raises `ImportRefused`: the run has not ended there, is damaged, or is still in the region.
        """
        await import_history(self, history, seconds(keep, "keep", least=1.0))
        return await self.handle(history.run_id)

    async def send(self, run_id: str, event: Event[Payload], payload: Payload, *, idempotency_key: str | None = None) -> None:
        """Send an event to a run by its id alone: see `RunHandle.send`."""
        await self.run(run_id, UNKNOWN, UNKNOWN).send(event, payload, idempotency_key=idempotency_key)

    async def find_start(self, run_id: str) -> Start | None:
        """The start of a run that waits for a worker, whatever its workflow."""
        if not is_run_id(run_id):
            return None
        pattern = f"{self.subjects.mail_prefix}run.*.*.{run_id}.start"
        for subject in await self.transport.subjects(self.subjects.mail_stream, pattern):
            stored = await self.transport.last(self.subjects.mail_stream, subject)
            if stored is not None and isinstance(message := peek_mail(stored.data), Start):
                return message
        return None

    async def find_workflow(self, name: str, version: str | None = None) -> tuple[str, str]:
        """The name and version (without one: the newest) of a workflow that a worker serves now.

        `UnknownWorkflow`, which says what is served, when there is none. A run may be started all the same: it waits for a worker.
        """
        return name, find_served(await self.workers(), name, version)

    async def workers(self) -> list[roster.WorkerInfo]:
        """The workers that have reported within the last seconds."""
        return await roster.read(self.transport, self.subjects)

    async def advice(self, task: str | None = None) -> list[Advice]:
        """What the workers have measured within two weeks, and what that says about settings: of a task, or of all tasks and workflows."""
        store = MeasureStore(self.transport, self.subjects)
        tasks = await store.read("task", None if task is None else check_name(task, "task"))
        found = [advise(name, "task", seen) for name, seen in sorted(tasks.items())]
        if task is None:
            found += [advise(name, "workflow", seen) for name, seen in sorted((await store.read("workflow")).items())]
        return found


def _readable(start: Start) -> Start:
    if start.locked:
        raise KeyMissing(f"the start of run {start.run_id} is sealed with key {start.locked!r}, which is not known here", key=start.locked)
    return start


def _patience(stalled_after: Duration | None) -> float:
    if stalled_after is not None:
        return seconds(stalled_after, "stalled_after")
    text = os.environ.get("AIKI_STALLED_AFTER")
    try:
        return STALLED_AFTER if not text else seconds(float(text), "$AIKI_STALLED_AFTER")
    except ValueError:
        raise DefinitionError(f"$AIKI_STALLED_AFTER must be a number of seconds, not {text!r}", what="stalled_after") from None


def _batches(ids: Sequence[str], size: int = 64) -> Iterator[Sequence[str]]:
    return (ids[begin : begin + size] for begin in range(0, len(ids), size))
