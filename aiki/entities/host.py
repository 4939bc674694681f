"""A host of entity actors: those that this process has in its hands.

It pulls from the mailboxes of the types that are registered, answers on one core subject of its own, gives turns to activations, keeps the
messages behind them alive, and forgets the actors that nobody has called for a while.
"""

import asyncio
import logging
import secrets
from collections import OrderedDict
from functools import partial

from msgspec.structs import replace

from aiki.actors import topology
from aiki.actors.held import bury_unreadable
from aiki.actors.unreadable import LEFT_FOR
from aiki.clock import Clock, SystemClock
from aiki.entities.activation import Activation
from aiki.entities.caller import Caller
from aiki.entities.definitions import EntityDefinition
from aiki.entities.envelope import DirectEnvelope, Envelope, MailEnvelope
from aiki.entities.outbox import Outbox
from aiki.kv import EntityStore
from aiki.transport.port import Consumption, Delivery, Message, Subscription, Transport
from aiki.types.actor_messages import ABSENT, WORKING, Call, Probe, decode_answer, decode_call, decode_request, encode
from aiki.types.errors import CodecError, NoResponders, OutcomeUnknown, RequestTimeout
from aiki.types.subjects import Subjects

__all__ = ["EntityHost"]

TICK = topology.ACK_WAIT / 3
"""Seconds between two signs of life to those who wait."""
FORWARD_PATIENCE = topology.ACK_WAIT

_log = logging.getLogger("aiki.entities")


class EntityHost:
    """One process's actors of one region. At most `cached` idle ones are in memory, each for `idle` seconds at most after its last call."""

    def __init__(
        self,
        transport: Transport,
        subjects: Subjects,
        *,
        clock: Clock | None = None,
        cached: int = 10_000,
        idle: float = 300.0,
        window: int = 1000,
    ) -> None:
        self.transport = transport
        self.subjects = subjects
        self.clock = clock or SystemClock()
        self.id = secrets.token_hex(6)
        self.subject = f"{subjects.host_prefix}e{self.id}"
        self.store = EntityStore(transport, subjects)
        self.outbox = Outbox(transport, subjects)
        self.caller = Caller(transport, subjects, self.clock)
        self._cached = cached
        self._idle_seconds = idle
        self._window = window
        self._operations = 0
        self._definitions: dict[str, EntityDefinition] = {}
        self._busy: dict[str, Activation] = {}
        self._idle: OrderedDict[str, Activation] = OrderedDict()
        self._consumptions: list[Consumption] = []
        self._direct: Subscription | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._stopping = False
        self._burials: set[asyncio.Task[None]] = set()

    # -- what activations need

    def now(self) -> float:
        return self.clock.now()

    def next_operation(self) -> str:
        self._operations += 1
        return f"{self.id}.{self._operations}"

    def turn_began(self, activation: Activation) -> None:
        self._idle.pop(activation.key, None)
        self._busy[activation.key] = activation
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep_alive())

    def turn_ended(self, activation: Activation) -> None:
        self._busy.pop(activation.key, None)
        if activation.state is None or self._stopping:
            activation.retire()
            return
        loop = asyncio.get_running_loop()
        activation.idle_since = loop.time()
        self._idle[activation.key] = activation
        if len(self._idle) > self._cached:
            self._idle.popitem(last=False)[1].retire()
        if self._sweeper is None:
            self._sweeper = loop.call_later(self._idle_seconds, self._sweep)

    @property
    def in_memory(self) -> int:
        """How many actors are in memory."""
        return len(self._busy) + len(self._idle)

    def withdraw(self, actor: str, call_id: str) -> None:
        """Nobody waits for that call any more: it must not be taken for part of a deadlock."""
        if (host := self.caller.host_of(actor)) is not None:
            self.transport.send(host, encode(Probe(call_id, actor, ())))

    async def forward(self, envelope: Envelope, owner: str) -> bool:
        """Have the host that has the actor see to a call; False when it does not."""

        def pending(message: Message) -> bool:
            if not message.data.startswith(WORKING + b" "):
                return False
            envelope.working(message.data[len(WORKING) + 1 :].decode())
            return True

        call = replace(envelope.call, forwarded=True, paths=envelope.paths, reply="")
        try:
            message = await self.transport.request(owner, encode(call), timeout=FORWARD_PATIENCE, pending=pending)
        except NoResponders:
            return False
        except (RequestTimeout, OutcomeUnknown):
            envelope.call = replace(envelope.call, again=True)
            return False
        if message.data == ABSENT:
            envelope.call = replace(envelope.call, again=True)
            return False
        envelope.answer(decode_answer(message.data))
        return True

    # -- life

    async def start(self, definitions: list[EntityDefinition]) -> None:
        """Serve these types. `StreamMissing` when the region has no streams."""
        self._definitions = {self.subjects.actor_key(each.name, ""): each for each in definitions}
        self._direct = await self.transport.subscribe(self.subject, self._on_request)
        for definition in definitions:
            prefix = self.subjects.actor_mail(definition.name)
            durable = self.subjects.actor_consumer(definition.name)
            await self.transport.ensure_consumer(topology.consumer(self.subjects.mail_stream, durable, prefix))
            handler = partial(self._on_mail, definition)
            self._consumptions.append(await self.transport.consume(self.subjects.mail_stream, durable, handler, window=self._window))

    async def drain(self, grace: float) -> None:
        """Take nothing new, and give the turns that are going on `grace` seconds to end."""
        self._stopping = True
        await asyncio.gather(*(consumption.stop() for consumption in self._consumptions), return_exceptions=True)
        if turns := [activation.turn for activation in self._busy.values() if activation.turn is not None]:
            await asyncio.wait(turns, timeout=grace)

    async def stop(self) -> None:
        """End the turns that are still going on and hand their messages over."""
        turns = [activation.turn for activation in self._busy.values() if activation.turn is not None]
        for activation in list(self._busy.values()):
            activation.stop()
        self.abandon()
        await asyncio.gather(*turns, return_exceptions=True)
        if self._direct is not None:
            await self._direct.stop()

    def abandon(self) -> None:
        """Forget everything at once, as a process does that is killed: for tests, which end the connection and the asyncio tasks too."""
        self._stopping = True
        self._idle.clear()
        if self._keeper is not None:
            self._keeper.cancel()
        if self._sweeper is not None:
            self._sweeper.cancel()

    # -- messages

    def _on_mail(self, definition: EntityDefinition, delivery: Delivery) -> None:
        try:
            call = decode_call(delivery.data)
        except CodecError as error:
            _log.error("a message on %s cannot be read here: %s; it is offered again in %g s", delivery.subject, error, LEFT_FOR)
            delivery.nak(LEFT_FOR)
            return
        except ValueError as error:
            _log.error("a message on %s cannot be decoded and is put aside: %s", delivery.subject, error)
            burial = bury_unreadable(self.transport, self.subjects, delivery, self.subjects.mail_stream, error)
            self._burials.add(burial)
            burial.add_done_callback(self._burials.discard)
            return
        self._activation(definition, call).deliver(MailEnvelope(call, delivery, self.transport))

    def _on_request(self, request: Message) -> None:
        try:
            message = decode_request(request.data)
        except (ValueError, CodecError):
            request.respond(ABSENT)
            return
        if isinstance(message, Probe):
            if (activation := self._busy.get(message.actor)) is not None:
                activation.probe(message.id, message.paths)
            return
        type = message.actor.partition(".")[0]
        definition = self._definitions.get(type + ".")
        if definition is None or self._stopping:
            request.respond(ABSENT)
            return
        self._activation(definition, message).deliver(DirectEnvelope(message, request))

    def _activation(self, definition: EntityDefinition, call: Call) -> Activation:
        key = call.actor
        return self._busy.get(key) or self._idle.get(key) or Activation(self, definition, key)

    # -- while time passes

    async def _keep_alive(self) -> None:
        while self._busy:
            await asyncio.sleep(TICK)
            for activation in list(self._busy.values()):
                for envelope in activation.waiting:
                    envelope.working(self.subject)
                if activation.asking:
                    self._probe(activation)
        self._keeper = None

    def _probe(self, activation: Activation) -> None:
        """Tell those whom a handler waits for who waits for it: so actors that wait for each other are found, whoever asked first."""
        paths = activation.paths()
        for call_id, actor in activation.asking.items():
            host = self.caller.host_of(actor)
            if host is not None:
                self.transport.send(host, encode(Probe(call_id, actor, paths)))

    def _sweep(self) -> None:
        self._sweeper = None
        loop = asyncio.get_running_loop()
        limit = loop.time() - self._idle_seconds
        while self._idle:
            activation = next(iter(self._idle.values()))
            if activation.idle_since > limit:
                self._sweeper = loop.call_at(activation.idle_since + self._idle_seconds, self._sweep)
                return
            del self._idle[activation.key]
            activation.retire()
