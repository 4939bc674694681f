"""A host: the runs that this process has in its hands.

It pulls from the mailboxes of the workflows that are registered, answers on one core subject of its own for runs that it has warm, gives
turns to their activations, and keeps the messages behind unfinished turns alive.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from aiki import telemetry
from aiki.actors import topology
from aiki.actors.activation import Activation, ended_of
from aiki.actors.blobs import Blobs
from aiki.actors.cache import ActivationCache
from aiki.actors.definitions import RunDefinition
from aiki.actors.envelope import ABSENT, Envelope, MailEnvelope, WarmEnvelope
from aiki.actors.evidence import Evidence
from aiki.actors.gatherings import Gatherings
from aiki.actors.held import bury_unreadable
from aiki.actors.lines import Lines
from aiki.actors.outbox import Outbox
from aiki.actors.queries import ask_stored
from aiki.actors.results import Results
from aiki.actors.server_clock import ServerClock
from aiki.actors.tally import Tallies
from aiki.actors.turnstile import Turnstile
from aiki.actors.unreadable import LEFT_FOR, Unreadable
from aiki.actors.watchdog import Watchdog
from aiki.actors.window import Window
from aiki.clock import Clock, SystemClock
from aiki.journal import RunState
from aiki.kv import DeadStore, RunStore
from aiki.transport.port import Consumption, Delivery, Message, Subscription, Transport
from aiki.types.errors import CodecError, KeyMissing
from aiki.types.messages import Answer, Query, decode_mail, decode_request, decode_serials, encode
from aiki.types.retention import Retention
from aiki.types.subjects import Subjects

__all__ = ["Host"]

Withdrawer = Callable[[str, set[int] | None], None]

CLOCK_SLACK = 5.0
"""Seconds by which this machine's clock may be ahead of the server's."""

COMMITS = 256
"""Commits on their way at a time: enough to keep the connection busy, and far from what its buffer takes."""

_log = logging.getLogger("aiki.actors")


class Host:
    """One process's runs of one region.

    `clock`: what `now` goes by (default: the server's, as `ServerClock` reads it). `retention`: for how long runs are kept after
    their end, and `archive`: whether they are archived before, as far as their workflows do not say. `always_replay` is for tests: see
    `ActivationHost`.
    """

    def __init__(
        self,
        transport: Transport,
        subjects: Subjects,
        *,
        worker_id: str,
        clock: Clock | None = None,
        cache_size: int = 1000,
        max_turns: int = 100,
        retention: Retention | None = None,
        archive: bool = False,
        always_replay: bool = False,
        environment: object = None,
        blobs: Blobs | None = None,
    ) -> None:
        self.transport = transport
        self.subjects = subjects
        self.worker_id = worker_id
        self.clock = clock or ServerClock(transport, subjects.mail_stream, SystemClock())
        self._server_clock = self.clock if isinstance(self.clock, ServerClock) else None
        self.retention = retention or Retention()
        self.archive = archive
        self.always_replay = always_replay
        self.environment = environment
        self.max_turns = max_turns
        self.id = secrets.token_hex(6)
        self.subject = subjects.host_prefix + self.id
        self.store = RunStore(transport, subjects)
        self.dead = DeadStore(transport, subjects)
        self.evidence = Evidence(transport, subjects, self.subject, worker_id, self.clock)
        self.outbox = Outbox(transport, subjects, self.subject)
        self.results = Results(transport, subjects, self.clock)
        self.tallies = Tallies()
        self.blobs = blobs or Blobs(transport, subjects, self.clock.now)
        self.watchdog = Watchdog()
        self.unreadable = Unreadable(self.store, worker_id, self.id)
        self.commits = Turnstile(COMMITS)
        self.now = self.clock.now
        self.lines = Lines(transport, subjects, self.now)
        self.gatherings = Gatherings(transport, subjects)
        self.doubt_before = 0.0
        """What was stored before this instant may have been acknowledged already, to a server that died."""
        self.keepers: list[Callable[[], bool]] = []
        """Called a few times per `ACK_WAIT`, to keep messages alive; they answer whether there were any."""
        self._cache = ActivationCache(cache_size)
        self._operations = 0
        self._definitions: dict[tuple[str, str], RunDefinition] = {}
        self._consumptions: list[Consumption] = []
        self._windows: dict[tuple[str, str], Window] = {}
        self._warm: Subscription | None = None
        self._withdrawn: Subscription | None = None
        self._withdrawers: list[Withdrawer] = []
        self._keeper: asyncio.Task[None] | None = None
        self._clock_reader: asyncio.Task[None] | None = None
        self._work = asyncio.Event()
        self._stopping = False
        self._queried: list[Subscription] = []
        self._works: set[asyncio.Task[None]] = set()

    # -- what activations need

    def next_operation(self) -> str:
        self._operations += 1
        return f"{self.id}.{self._operations}"

    def turn_began(self, activation: Activation) -> None:
        self._cache.begin(activation)
        self.work_began()

    def work_began(self) -> None:
        """There are messages to keep alive."""
        self._work.set()

    def turn_ended(self, activation: Activation) -> None:
        self._cache.end(activation)

    def wait_began(self, activation: Activation) -> None:
        """The activation's turn merely waits for an instant."""
        definition = activation.definition
        if (window := self._windows.get((definition.name, definition.version))) is not None:
            window.wait_began()

    def wait_ended(self, activation: Activation) -> None:
        """It goes on."""
        definition = activation.definition
        if (window := self._windows.get((definition.name, definition.version))) is not None:
            window.wait_ended()

    async def run_ended(self, state: RunState, *, again: bool = False) -> None:
        """Tell who started the run. The acknowledgement of its trigger follows on the same connection: if that arrives, so does this."""
        mailboxes = [mailbox for mailbox in (state.notify, *state.watchers) if mailbox]
        ended = encode(ended_of(state)) if state.reply or mailboxes else b""
        if state.reply:
            self.transport.send(state.reply, ended)
        for mailbox in mailboxes:
            # A run that is retried or reset ends more than once, and the stream takes each message id once.
            await self.outbox.notify(mailbox, ended, f"{state.run_id}/ended/{state.finished_at}/{mailbox}")
        if not again:
            if state.finished_at is not None:
                self.tallies.run_ended(state.workflow, state.status, state.finished_at - state.started_at)
            telemetry.run_span(
                state.workflow,
                state.run_id,
                state.status,
                state.trace,
                started_at=state.started_at,
                finished_at=state.updated_at,
                error=state.error,
            )

    async def ask_for_archive(self, state: RunState) -> None:
        """Tell the archivers of a run that has ended: one of them will take it, now or when there is one."""
        await self.outbox.notify(self.subjects.archive_mail + state.run_id, b"", f"{state.run_id}/archive/{state.finished_at}")

    def answer(self, reply: str, answer: Answer) -> None:
        """Tell the sender of an update; it asks again with the same id if it does not hear this."""
        self.transport.send(reply, encode(answer))

    # -- life

    async def start(self, definitions: list[RunDefinition]) -> None:
        """Serve these workflows. `StreamMissing` when the region has no streams."""
        await topology.check(self.transport, self.subjects)
        self._definitions = {(each.name, each.version): each for each in definitions}
        if self._server_clock is not None:
            await self._server_clock.measure()
            self._clock_reader = asyncio.create_task(self._server_clock.follow())
        self.watchdog.start()
        self.transport.on_reconnect(self._reconnected)
        self._keeper = asyncio.create_task(self._keep_alive())
        self._warm = await self.transport.subscribe(self.subject, self._on_request)
        for definition in definitions:
            prefix = self.subjects.run_mail(definition.name, definition.version)
            durable = self.subjects.run_consumer(definition.name, definition.version)
            await self.transport.ensure_consumer(topology.consumer(self.subjects.mail_stream, durable, prefix))
            handler = partial(self._on_mail, definition, len(prefix))
            questions = self.subjects.run_query(definition.name, definition.version)
            self._queried.append(await self.transport.subscribe(questions, partial(self._on_query, definition), group="hosts"))
            window = self._windows[definition.name, definition.version] = Window(self.max_turns)
            consumption = await self.transport.consume(self.subjects.mail_stream, durable, handler, window=window.size)
            window.consumption = consumption
            self._consumptions.append(consumption)

    async def drain(self, grace: float) -> None:
        """Take nothing new, and give the turns that are going on `grace` seconds to end."""
        self._stopping = True
        self._close_windows()
        await asyncio.gather(*(consumption.stop() for consumption in self._consumptions), return_exceptions=True)
        if turns := [turn for activation in self._cache.busy() if (turn := activation.turn) is not None]:
            await asyncio.wait(turns, timeout=grace)

    async def stop(self) -> None:
        """End the turns that are still going on and hand their messages over."""
        self._stopping = True
        self._close_windows()
        for subscription in (*self._queried, self._warm, self._withdrawn):
            if subscription is not None:
                await subscription.stop()
        self.unreadable.stop()
        for work in self._works:
            work.cancel()
        if self._keeper is not None:
            self._keeper.cancel()
        if self._clock_reader is not None:
            self._clock_reader.cancel()
        await asyncio.gather(*(activation.stop() for activation in self._cache.clear()), return_exceptions=True)
        await self.results.close()
        self.watchdog.stop()

    def abandon(self) -> None:
        """Forget everything at once, as a process does that is killed: for tests, which end the connection and the asyncio tasks too."""
        self._stopping = True
        self._close_windows()
        self.watchdog.stop()
        for activation in self._cache.clear():
            activation.evict()

    @property
    def turns(self) -> int:
        """Turns that are going on."""
        return len(self._cache.busy())

    @property
    def cached_runs(self) -> int:
        """Runs in memory, those in a turn included."""
        return len(self._cache)

    # -- messages

    def deliver_warm(self, run_id: str, envelope: Envelope) -> bool:
        """Give a message to a run that this host has in memory; False when it has not."""
        activation = self._cache.get(run_id)
        if activation is None or self._stopping:
            return False
        activation.deliver(envelope)
        return True

    async def hear_of_withdrawals(self, withdrawer: Withdrawer) -> None:
        """Call `withdrawer` (run id, serials of its dispatches or None for all) whenever nobody waits for a run's dispatches any more."""
        self._withdrawers.append(withdrawer)
        if self._withdrawn is None:
            self._withdrawn = await self.transport.subscribe(self.subjects.withdrawn_prefix + "*", self._on_withdrawn)

    def _on_withdrawn(self, message: Message) -> None:
        try:
            serials = set(decode_serials(message.data)) if message.data else None
        except ValueError:
            _log.error("a withdrawal on %s cannot be decoded and is dropped", message.subject)
            return
        for withdrawer in self._withdrawers:
            withdrawer(message.subject.rpartition(".")[2], serials or None)

    def _on_mail(self, definition: RunDefinition, prefix: int, delivery: Delivery) -> None:
        if self._server_clock is not None:
            self._server_clock.at_least(delivery.timestamp)
        run_id = delivery.subject[prefix:].partition(".")[0]
        try:
            message = decode_mail(delivery.data)
        except CodecError as error:
            start = (delivery.subject, delivery.data) if isinstance(error, KeyMissing) else None
            self.unreadable.mark(run_id, error, self.now(), start)
            delivery.nak(LEFT_FOR)
            return
        except ValueError as error:
            _log.error("run %s: a message cannot be decoded and is put aside: %s", run_id, error)
            self.put_aside(delivery, self.subjects.mail_stream, error)
            return
        activation = self._cache.get(run_id)
        if activation is None:
            activation = Activation(self, definition, run_id, redelivered=delivery.attempt > 1)
        activation.deliver(MailEnvelope(message, delivery))

    def _on_request(self, request: Message) -> None:
        run_id, _, data = request.data.partition(b"\n")
        activation = self._cache.get(run_id.decode())
        if activation is None or self._stopping:
            request.respond(ABSENT)
            return
        try:
            message = decode_request(data)
        except (ValueError, CodecError):
            request.respond(ABSENT)
            return
        if isinstance(message, Query):
            answer = activation.ask(message)
            request.respond(ABSENT if answer is None else encode(answer))
        else:
            activation.deliver(WarmEnvelope(message, request))

    def _on_query(self, definition: RunDefinition, request: Message) -> None:
        """A query of a run that need not be here."""
        run_id, _, data = request.data.partition(b"\n")
        activation = self._cache.get(run_id.decode())
        try:
            query = decode_request(data)
        except (ValueError, CodecError):
            return
        if not isinstance(query, Query) or self._stopping:
            return
        answer = None if activation is None else activation.ask(query)
        if answer is not None:
            request.respond(encode(answer))
        else:
            self._work_on(self._ask_stored(definition, run_id.decode(), query, request))

    async def _ask_stored(self, definition: RunDefinition, run_id: str, query: Query, request: Message) -> None:
        request.respond(encode(await ask_stored(self.store, self.blobs, definition, run_id, query, self.now())))

    def _work_on(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._works.add(task)
        task.add_done_callback(self._works.discard)

    def put_aside(self, delivery: Delivery, stream: str, error: Exception) -> None:
        """A message of that stream cannot be read: it goes into the dead-letter list."""
        task = bury_unreadable(self.transport, self.subjects, delivery, stream, error)
        self._works.add(task)
        task.add_done_callback(self._works.discard)

    def _close_windows(self) -> None:
        for window in self._windows.values():
            window.close()

    def _reconnected(self) -> None:
        self.doubt_before = self.now() + CLOCK_SLACK

    async def _keep_alive(self) -> None:
        while True:
            self.watchdog.beat()
            await asyncio.sleep(topology.ACK_WAIT / 3)
            busy = self._cache.busy()
            for activation in busy:
                activation.keep_alive()
            kept = sum(keep_alive() for keep_alive in self.keepers)
            if not kept and not busy:
                self.watchdog.rest()
                self._work.clear()
                await self._work.wait()
