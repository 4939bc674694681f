"""A transport that seals what passes down and opens what comes up, so that nothing above it can forget to.

What it cannot open for want of the key it hands on as it stands: decoders raise `KeyMissing` for that. What was tampered with raises
`Tampered` where it is looked at.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, cast

from aiki.codec import Codec
from aiki.sealing.disclosure import Kind, context_of, disclose, kind_of, public_letter, without_secrets
from aiki.sealing.holding import inner_place, released
from aiki.sealing.inputs import opened_start
from aiki.sealing.messages import OpenedAnswer, OpenedDelivery, OpenedMessage, answer_context
from aiki.sealing.sealer import Sealer
from aiki.transport.port import Ack, Consumption, Delivery, Message, Stored, Subscription, Transport
from aiki.types.errors import CodecError, Tampered
from aiki.types.sealed import Carried, is_sealed, key_of, parse

__all__ = ["SealedTransport", "sealed", "seals"]

TARGET_HEADER = "Nats-Schedule-Target"
"""Of a message that waits for its instant: the subject that it is for."""

MOST_PLACES = 4096
"""Subjects of which it is remembered how they are treated."""

_log = logging.getLogger("aiki.sealing")


def sealed(transport: Transport, codec: Codec | None) -> tuple[Transport, Sealer | None]:
    """The transport for whoever has that codec, and its sealer."""
    if codec is None:
        return transport, None
    wrapped = SealedTransport(transport, codec)
    return cast(Transport, wrapped), wrapped.sealer


def seals(transport: Transport) -> bool:
    """Whether what goes out by it is sealed."""
    wrapped: object = transport
    return isinstance(wrapped, SealedTransport) and wrapped.sealer.codec.active is not None


class SealedTransport:
    """See `aiki.transport.port.Transport`; what is not sealed is the wrapped one's own."""

    def __init__(self, transport: Transport, codec: Codec) -> None:
        self._transport = transport
        self._codec = codec
        self.sealer = Sealer(codec)
        self._fetching: set[asyncio.Task[None]] = set()
        self._places: dict[str, tuple[Kind, bytes]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    # -- down

    def seal(self, subject: str, data: bytes) -> bytes:
        """As it is to stand on that subject."""
        key = self._codec.active
        if key is None or not data or is_sealed(data):
            return data
        place = self._places.get(subject) or self._place(subject)
        kind, context = place
        if kind == "plain":
            return data
        if kind == "schedule-mail":
            return without_secrets(data)
        if kind == "letter":
            return public_letter(data)
        return self.sealer.seal_with(key, data, context, disclose(kind, data, key))

    def _place(self, subject: str) -> tuple[Kind, bytes]:
        """How that is treated which stands on a subject, and what it is sealed for. A run's commits all stand on the same one."""
        if len(self._places) >= MOST_PLACES:
            self._places.clear()
        made = self._places[subject] = (kind_of(subject), context_of(subject).encode())
        return made

    def publish(self, subject: str, data: bytes, **options: Any) -> "asyncio.Future[Ack]":
        """Sealed for its subject."""
        return self._transport.publish(subject, self.seal(subject, data), **options)

    def schedule(self, subject: str, at: float, target: str, data: bytes, **options: Any) -> "asyncio.Future[Ack]":
        """Sealed for its target."""
        return self._transport.schedule(subject, at, target, self.seal(target, data), **options)

    def send(self, subject: str, data: bytes, **options: Any) -> None:
        """Sealed for its subject."""
        self._transport.send(subject, self.seal(subject, data), **options)

    def request(
        self, subject: str, data: bytes, *, pending: Callable[[Message], bool] | None = None, **options: Any
    ) -> "asyncio.Future[Message]":
        """The request is sealed for its subject, the answer for the request."""
        wire = self.seal(subject, data)
        context = answer_context(wire)

        def still_pending(message: Message) -> bool:
            try:
                return pending is not None and pending(OpenedAnswer(message, self.sealer, context))
            except CodecError:
                return False

        inner = self._transport.request(subject, wire, pending=None if pending is None else still_pending, **options)
        outer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()

        def answered(done: "asyncio.Future[Message]") -> None:
            if outer.done():
                return
            if done.cancelled():
                outer.cancel()
            elif (failure := done.exception()) is not None:
                outer.set_exception(failure)
            else:
                try:
                    outer.set_result(OpenedAnswer(done.result(), self.sealer, context))
                except CodecError as error:
                    outer.set_exception(error)

        def given_up(done: "asyncio.Future[Message]") -> None:
            if done.cancelled():
                inner.cancel()

        inner.add_done_callback(answered)
        outer.add_done_callback(given_up)
        return outer

    # -- up

    def open(self, subject: str, data: bytes) -> bytes:
        """What stands on that subject, opened; as it is when it is not sealed, or its key is not known. `Tampered`."""
        if not is_sealed(data):
            return data
        parts = parse(data)
        place = context_of(subject)
        if not isinstance(parts, Carried):
            return self.sealer.open(parts, place) if self._codec.knows(parts.key) else data
        kind = kind_of(place)
        if kind == "start":
            opened = opened_start(self.sealer, parts.public, parts.context, parts.inner)
            return data if opened is None else opened
        if kind != "state":
            raise Tampered(f"nothing is carried on {subject}", context=subject)
        inner_place(place, parts.public, parts.context)
        plain = self.open(parts.context, parts.inner)
        return data if is_sealed(plain) else released(parts.public, plain, place, parts.context)

    async def _opened(self, stored: Stored | None) -> Stored | None:
        if stored is None or not is_sealed(stored.data):
            return stored
        await self._learn(stored.data)
        return stored._replace(data=self.open(stored.headers.get(TARGET_HEADER, stored.subject), stored.data))

    async def last(self, stream: str, subject: str) -> Stored | None:
        """Opened."""
        return await self._opened(await self._transport.last(stream, subject))

    async def next(self, stream: str, subject: str, sequence: int) -> Stored | None:
        """Opened."""
        return await self._opened(await self._transport.next(stream, subject, sequence))

    async def consume(self, stream: str, durable: str, handler: Callable[[Delivery], None], *, window: int) -> Consumption:
        """Each delivery opens when its data is asked for."""

        def handle(delivery: Delivery) -> None:
            opened = OpenedDelivery(delivery, self)
            self._when_known(delivery.data, lambda: handler(opened))

        return await self._transport.consume(stream, durable, handle, window=window)

    async def subscribe(self, subject: str, handler: Callable[[Message], None], *, group: str = "") -> Subscription:
        """Messages that were tampered with are dropped: whoever sends one is no part of this."""

        def handle(message: Message) -> None:
            try:
                opened = OpenedMessage(message, self.open(message.subject, message.data), self.sealer)
            except Tampered as error:
                _log.warning("a message on %s is dropped: %s", message.subject, error)
                return
            handler(opened)

        return await self._transport.subscribe(
            subject, lambda message: self._when_known(message.data, lambda: handle(message)), group=group
        )

    def _when_known(self, data: bytes, then: Callable[[], None]) -> None:
        """At once, but when a key must be asked for first."""

        def learned(done: "asyncio.Task[None]") -> None:
            self._fetching.discard(done)
            if not done.cancelled():
                then()

        if is_sealed(data):
            try:
                known = self._codec.knows(key_of(data))
            except Tampered:
                known = True  # whoever looks at it is told
            if not known:
                task = asyncio.create_task(self._learn(data))
                self._fetching.add(task)
                task.add_done_callback(learned)
                return
        then()

    async def _learn(self, data: bytes) -> None:
        """Have the codec ask for a key that it does not know."""
        key = key_of(data)
        if self._codec.knows(key):
            return
        try:
            await self._codec.fetch(key)
        except Exception as error:
            _log.warning("key %r could not be fetched: %s", key, type(error).__name__)
