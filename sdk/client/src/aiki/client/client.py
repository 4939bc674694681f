"""The client: starts runs and finds them again."""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from aiki import telemetry
from aiki.actors import history, roster
from aiki.client.ends import Ends
from aiki.client.handle import UNKNOWN, RunHandle
from aiki.client.schedule_views import ScheduleView
from aiki.client.schedules import ScheduleHandle, Schedules
from aiki.client.views import RunStatus, queued_status, run_status
from aiki.clock import Clock, SystemClock
from aiki.journal import Entry, RunState, decode_state
from aiki.kv import RunStore
from aiki.schema import Schema, payload_hash
from aiki.transport.port import Transport
from aiki.types.errors import DefinitionError, IdempotencyConflict, OutcomeUnknown
from aiki.types.identifiers import RunId, keyed_run_id, new_run_id
from aiki.types.messages import Start, decode_mail, encode
from aiki.types.subjects import Subjects

__all__ = ["DEFAULT_URL", "Client", "OnConflict"]

Output = TypeVar("Output")
OnConflict = Literal["error", "return_existing"]

DEFAULT_URL = "nats://127.0.0.1:4222"
START_WITHIN = 60.0
"""Seconds for which a start is repeated while its outcome is unknown: well inside the stream's dedupe window, so it is stored once."""


class Client:
    """A connection to Aiki in one region. Make it with `connect`; `async with` closes it."""

    def __init__(self, transport: Transport, *, region: str = "default", clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.transport = transport
        self.region = region
        self.subjects = Subjects(region)
        self.store = RunStore(transport, self.subjects)
        self.ends = Ends(transport, self.subjects)

    @classmethod
    async def connect(cls, url: str | None = None, *, region: str | None = None, timeout: float = 5.0, **options: Any) -> Self:
        """Connect to NATS (default: `$AIKI_URL` or `nats://127.0.0.1:4222`) for `region` (default: `$AIKI_REGION` or "default").

        `options` go to the NATS client (`user_credentials`, `tls`, …). Raises `NotConnected`, `JetStreamDisabled`, `ServerTooOld`.
        """
        from aiki.transport.jetstream import JetStreamTransport

        subject_region = region if region is not None else os.environ.get("AIKI_REGION", "default")
        Subjects(subject_region)
        transport = await JetStreamTransport.connect(url or os.environ.get("AIKI_URL", DEFAULT_URL), timeout=timeout, **options)
        return cls(transport, region=subject_region)

    async def close(self) -> None:
        """End the connection."""
        await self.transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    # -- schedules

    def schedule(self, id: str) -> ScheduleHandle:
        """A handle of a schedule that exists already, by id alone: payloads are plain JSON values."""
        from aiki.schema import schema_for

        return ScheduleHandle(self, id, schema_for(Any, "payload"))

    async def schedules(self) -> AsyncIterator[ScheduleView]:
        """All schedules, by id."""
        async for view in Schedules(self).all():
            yield view

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
    ) -> RunHandle[Output]:
        """Start a run of a workflow by name, with a payload that is JSON already; `Workflow.enqueue` is the typed way.

        When it has returned, the run happens, whatever dies after that. One round trip.
        """
        if on_conflict not in ("error", "return_existing"):
            raise DefinitionError(f'on_conflict must be "error" or "return_existing", not {on_conflict!r}', what="on_conflict")
        if idempotency_key is not None and (type(idempotency_key) is not str or not idempotency_key):
            raise DefinitionError(f"idempotency_key must be a string that is not empty, not {idempotency_key!r}", what="idempotency_key")
        run_id = new_run_id() if idempotency_key is None else keyed_run_id(workflow, idempotency_key)
        await self.ends.listen()
        with telemetry.client_span("enqueue", workflow, run_id):
            trace = telemetry.carry()
            start = Start(
                run_id, workflow, version, payload, payload_hash(payload), self.clock.now(), idempotency_key, trace, self.ends.subject
            )
            if idempotency_key is None:
                self.ends.expect(run_id)
                await self._send_start(start)
            elif (existing := await self._start_keyed(start)) is not None and on_conflict == "error":
                self._compare(start, existing)
        return RunHandle(self, run_id, workflow, version, output, started=True)

    async def _send_start(self, start: Start) -> bool:
        """Store the start; False when it was stored before."""
        subject = f"{self.subjects.run_mail(start.workflow, start.version)}{start.run_id}.start"
        data = encode(start)
        limit = time.monotonic() + START_WITHIN
        delay = 0.05
        first = True
        while True:
            try:
                ack = await self.transport.publish(subject, data, message_id=f"{start.run_id}/start", headers=start.trace or None)
                return first and not ack.duplicate
            except OutcomeUnknown:
                if time.monotonic() > limit:
                    raise
                first = False
                await asyncio.sleep(delay)
                delay = min(delay * 2, 2.0)

    async def _start_keyed(self, start: Start) -> bytes | None:
        """Start under a key; answers the payload hash of the run that had the key already, None when this call began it."""
        # Both at once: should the run exist, its host drops the second start.
        stored, fresh = await asyncio.gather(self.store.read(start.run_id), self._send_start(start))
        if stored is not None:
            return decode_state(stored.value).input_hash
        if fresh:
            return None
        # Stored a moment ago by somebody: it waits in the mailbox, or a worker has just taken it up.
        waiting = await self.waiting_start(start.workflow, start.version, start.run_id)
        if waiting is not None:
            return waiting.input_hash
        found = await self.load(start.run_id)
        return found[0].input_hash if found is not None else start.input_hash

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
        """The start of a run that no worker has taken up yet."""
        stored = await self.transport.last(self.subjects.mail_stream, f"{self.subjects.run_mail(workflow, version)}{run_id}.start")
        if stored is None:
            return None
        message = decode_mail(stored.data)
        return message if isinstance(message, Start) else None

    async def load(self, run_id: str) -> tuple[RunState, int] | None:
        """A run's state and revision, as the store has them now."""
        stored = await self.store.read(run_id)
        return None if stored is None else (decode_state(stored.value), stored.revision)

    async def history(self, state: RunState) -> list[Entry]:
        """A run's whole journal, sealed segments included."""
        return await history.load(self.store, state)

    async def runs(self, *, workflow: str | None = None, state: str | None = None, limit: int | None = None) -> AsyncIterator[RunStatus]:
        """Runs, filtered by workflow and state: those that no worker has taken up yet, then those in the store, each by id, descending.

        Ids of runs that were started without an idempotency key begin with their time: of these, the newest come first.
        """
        found = 0
        async with aclosing(self._all_runs(state)) as runs:
            async for run in runs:
                if (state is None or run.state == state) and (workflow is None or run.workflow == workflow):
                    yield run
                    found += 1
                    if limit is not None and found >= limit:
                        return

    async def _all_runs(self, state: str | None) -> AsyncGenerator[RunStatus, None]:
        # The mailboxes first: what leaves them in between is in the store by then.
        starts = await self.transport.subjects(self.subjects.mail_stream, f"{self.subjects.mail_prefix}run.*.*.*.start")
        waiting = {subject.split(".")[-2]: subject for subject in starts}
        ids = await self.store.ids()
        for run_id in ids:
            waiting.pop(run_id, None)
        if state is None or state == "queued":
            for some in _batches(sorted(waiting, reverse=True)):
                read = (self.transport.last(self.subjects.mail_stream, waiting[run_id]) for run_id in some)
                for message in await asyncio.gather(*read):
                    if message is not None and isinstance(start := decode_mail(message.data), Start):
                        yield queued_status(start)
        for some in _batches(sorted(ids, reverse=True)):
            for stored in await asyncio.gather(*(self.store.read(run_id) for run_id in some)):
                if stored is not None and (state is None or stored.state == state):
                    yield run_status(decode_state(stored.value))

    async def handle(self, run_id: str) -> RunHandle[Any]:
        """A handle by id alone, whose result is a plain JSON value. `RunNotFound` is raised by its methods."""
        from aiki.schema import schema_for

        found = await self.load(run_id)
        if found is None:
            start = await self._find_start(run_id)
            name, version = (start.workflow, start.version) if start is not None else (UNKNOWN, UNKNOWN)
        else:
            name, version = found[0].workflow, found[0].version
        return RunHandle(self, RunId(run_id), name, version, schema_for(Any, "result"))

    def run(self, run_id: str, workflow: str, version: str) -> RunHandle[Any]:
        """A handle of a run whose workflow is known."""
        from aiki.schema import schema_for

        return RunHandle(self, RunId(run_id), workflow, version, schema_for(Any, "result"))

    async def _find_start(self, run_id: str) -> Start | None:
        pattern = f"{self.subjects.mail_prefix}run.*.*.{run_id}.start"
        for subject in await self.transport.subjects(self.subjects.mail_stream, pattern):
            stored = await self.transport.last(self.subjects.mail_stream, subject)
            if stored is not None and isinstance(message := decode_mail(stored.data), Start):
                return message
        return None

    async def workers(self) -> list[roster.WorkerInfo]:
        """The workers that have reported within the last seconds."""
        return await roster.read(self.transport, self.subjects)


def _batches(ids: Sequence[str], size: int = 64) -> Iterator[Sequence[str]]:
    return (ids[begin : begin + size] for begin in range(0, len(ids), size))
