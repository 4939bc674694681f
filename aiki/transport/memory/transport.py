"""A connection to a `MemoryServer`."""

import asyncio
import contextlib
import contextvars
import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from aiki.transport.instant import format_instant
from aiki.transport.memory.consumption import MemoryConsumption
from aiki.transport.memory.exchange import URL, MemoryExchange
from aiki.transport.memory.link import Link
from aiki.transport.memory.message import MemorySubscription, ReplyTo
from aiki.transport.port import (
    Ack,
    ConsumerInfo,
    ConsumerSpec,
    Consumption,
    Delivery,
    Headers,
    Message,
    ServerInfo,
    Stored,
    StreamSpec,
    Subscription,
)
from aiki.types.errors import NotConnected, PayloadTooLarge, TransportError

if TYPE_CHECKING:
    from aiki.transport.memory.server import MemoryServer

__all__ = ["MemoryTransport"]

Result = TypeVar("Result")
CLOSE_PATIENCE = 2.0

log = logging.getLogger("aiki.transport")


class MemoryTransport:
    """See `aiki.transport.port.Transport`; made by `MemoryServer.connect`. For tests it can be cut off, and its process can die."""

    def __init__(self, server: "MemoryServer", name: str, timeout: float) -> None:
        self.name = name
        self._server = server
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._out = Link(server, self._loop)
        self._in = Link(server, self._loop)
        self._exchange = MemoryExchange(self, server, self._out, self._in)
        self._over = ""
        self._subscriptions: dict[MemorySubscription, None] = {}
        self._consumptions: dict[MemoryConsumption, None] = {}
        self._handlers: list[Callable[[], None]] = []
        self._context = contextvars.copy_context()

    # What tests do to a connection.

    def crash(self) -> None:
        """The process dies: nothing that is on its way takes effect, no handler is called again, open futures stay open for ever."""
        self._over = "this connection's process has crashed"
        self._detach()
        self._exchange.forget()

    def disconnect(self) -> None:
        """The network is cut: what is on its way is lost, and what is asked for from now on waits for `reconnect`."""
        if self._over or not self._exchange.live:
            return
        self._detach()
        self._exchange.fail("the connection was lost before the answer came")

    def reconnect(self) -> None:
        """The network is back."""
        if self._over or self._exchange.live:
            return
        for subscription in self._subscriptions:
            self._server.listen(subscription)
        self._exchange.restored()
        for consumption in self._consumptions:
            consumption.consumer.pullers.append(consumption)
            self.ask_for_more(consumption)
        for handler in list(self._handlers):
            self._guard(handler, ())

    # Durable writes.

    def publish(
        self,
        subject: str,
        data: bytes,
        *,
        headers: Headers | None = None,
        message_id: str | None = None,
        expect: int | None = None,
        ttl: float | None = None,
        timeout: float | None = None,
    ) -> "asyncio.Future[Ack]":
        full: dict[str, str] = {}
        if expect is not None:
            full["Nats-Expected-Last-Subject-Sequence"] = str(expect)
        if headers:
            full |= headers
        if message_id is not None:
            full["Nats-Msg-Id"] = message_id
        if ttl is not None:
            full["Nats-TTL"] = f"{max(math.ceil(ttl * 1000), 1000)}ms"
        refusal = self._refusal(subject, data, full)
        if refusal is None and ("*" in subject or ">" in subject):
            refusal = TransportError(f"{subject!r} is a pattern, not a subject")
        if refusal is not None:
            return self._failed(refusal)
        return self._exchange.store(subject, data, full, self._timeout if timeout is None else timeout)

    def schedule(
        self,
        subject: str,
        at: float,
        target: str,
        data: bytes,
        *,
        headers: Headers | None = None,
        message_id: str | None = None,
        timeout: float | None = None,
    ) -> "asyncio.Future[Ack]":
        try:
            instant = format_instant(at)
        except TransportError as error:
            return self._failed(error)
        full = {**(headers or {}), "Nats-Schedule": f"@at {instant}", "Nats-Schedule-Target": target}
        return self.publish(subject, data, headers=full, message_id=message_id, timeout=timeout)

    async def cancel_schedule(self, stream: str, subject: str) -> None:
        await self.purge(stream, subject)

    # Core messages.

    def send(self, subject: str, data: bytes, *, headers: Headers | None = None) -> None:
        refusal = self._refusal(subject, data, headers or {})
        if refusal is not None:
            raise refusal
        if self._exchange.live:
            self._out.carry(self._emit, subject, bytes(data), headers or {})

    def request(
        self,
        subject: str,
        data: bytes,
        *,
        headers: Headers | None = None,
        timeout: float = 5.0,
        pending: Callable[[Message], bool] | None = None,
    ) -> "asyncio.Future[Message]":
        refusal = self._refusal(subject, data, headers or {})
        if refusal is not None:
            return self._failed(refusal)
        return self._exchange.ask(subject, data, headers or {}, timeout, pending)

    async def subscribe(self, subject: str, handler: Callable[[Message], None], *, group: str = "") -> Subscription:
        self._check_open()
        if not subject or " " in subject or not subject.isprintable():
            raise TransportError(f"{subject!r} is not a subject")
        subscription = MemorySubscription(self, subject, handler, group)
        self._subscriptions[subscription] = None
        if self._exchange.live:
            self._server.listen(subscription)
            await self._call(lambda: None)
        return subscription

    # Consumers.

    async def consume(self, stream: str, durable: str, handler: Callable[[Delivery], None], *, window: int) -> Consumption:
        consumer = await self._call(lambda: self._server.consumer(stream, durable))
        consumption = MemoryConsumption(self, consumer, handler, window)
        self._consumptions[consumption] = None
        if self._exchange.live:
            consumer.pullers.append(consumption)
            self.ask_for_more(consumption)
        return consumption

    async def consumers(self, stream: str) -> list[ConsumerInfo]:
        return await self._call(lambda: self._server.consumers(stream))

    async def pause_consumer(self, stream: str, durable: str, until: float | None) -> None:
        await self._call(lambda: self._server.consumer(stream, durable).pause(until))

    async def backlog(self, stream: str, durable: str) -> tuple[int, int]:
        return await self._call(lambda: self._server.consumer(stream, durable).backlog())

    async def pullers(self, stream: str, durable: str) -> int:
        def count() -> int:
            found = self._server.stream(stream).consumers.get(durable)
            return 0 if found is None else sum(puller.has_room() for puller in found.pullers)

        return await self._call(count)

    # Streams.

    async def last(self, stream: str, subject: str) -> Stored | None:
        return await self._call(lambda: self._server.stream(stream).last(subject))

    async def next(self, stream: str, subject: str, sequence: int) -> Stored | None:
        return await self._call(lambda: self._server.stream(stream).next(subject, sequence))

    async def subjects(self, stream: str, pattern: str) -> list[str]:
        return await self._call(lambda: self._server.stream(stream).subjects(pattern))

    async def purge(self, stream: str, pattern: str) -> int:
        return await self._call(lambda: self._server.stream(stream).purge(pattern))

    async def ensure_stream(self, spec: StreamSpec, *, update: bool = False) -> Literal["created", "unchanged", "updated"]:
        return await self._call(lambda: self._server.ensure_stream(spec, update))

    async def ensure_consumer(self, spec: ConsumerSpec) -> Literal["created", "unchanged", "updated"]:
        return await self._call(lambda: self._server.ensure_consumer(spec))

    async def stream(self, name: str) -> StreamSpec | None:
        found = await self._call(lambda: self._server.streams.get(name))
        return None if found is None else found.spec

    async def server_time(self, stream: str) -> float:
        def read() -> float:
            self._server.stream(stream)
            return self._server.now()

        return await self._call(read)

    # The connection.

    def server(self) -> ServerInfo:
        return ServerInfo(version="memory", jetstream=True, api_level=0, max_payload=self._server.max_payload)

    def on_reconnect(self, handler: Callable[[], None]) -> None:
        self._handlers.append(handler)

    @property
    def published(self) -> int:
        return self._exchange.published

    @property
    def published_bytes(self) -> int:
        return self._exchange.published_bytes

    async def close(self) -> None:
        if self._over:
            return
        if self._exchange.live:
            with contextlib.suppress(TransportError, TimeoutError):
                await self._call(lambda: None)
                await asyncio.wait_for(self._exchange.settled(), CLOSE_PATIENCE)
        self._over = "this connection has been closed"
        self._detach()
        self._exchange.fail("the connection was closed before the answer came")

    # For the parts of a connection.

    def tell(self, verdict: Callable[..., None], *args: object) -> bool:
        """Carry an acknowledgement; while cut off it waits. False when it is lost."""
        if self._over:
            return False
        if not self._exchange.live:
            self._exchange.carry(lambda: self._out.carry(verdict, *args))
            return True
        return self._out.carry_frail(verdict, *args)

    def deliver(self, receive: Callable[..., None], *args: object) -> bool:
        """Carry a message from the server to here; false when it is lost."""
        return self._exchange.live and self._in.carry_frail(self._guard, receive, args)

    def answer(self, reply: ReplyTo, data: bytes, headers: Headers) -> None:
        """Carry the answer to a request."""
        refusal = self._refusal("answer", data, headers)
        if refusal is not None and not self._over:
            raise refusal
        if self._exchange.live:
            self._out.carry(reply.transport.receive_answer, reply.number, bytes(data), headers)

    def receive_answer(self, number: int, data: bytes, headers: Headers) -> None:
        """At the server: pass an answer on to here."""
        self.deliver(self._exchange.answered, number, "", data, headers)

    def unsubscribe(self, subscription: MemorySubscription) -> None:
        """Forget a subscription."""
        if subscription in self._subscriptions:
            del self._subscriptions[subscription]
            self._server.unlisten(subscription)

    def ask_for_more(self, consumption: MemoryConsumption) -> None:
        """Tell the server that there may be room."""
        if self._exchange.live:
            self._out.carry(consumption.consumer.hand_out)

    async def end_consumption(self, consumption: MemoryConsumption) -> None:
        """Stop delivering."""
        if consumption in self._consumptions:
            del self._consumptions[consumption]
            if consumption in consumption.consumer.pullers:
                consumption.consumer.pullers.remove(consumption)
            if self._exchange.live:
                await self._call(lambda: None)

    def handler_failed(self) -> None:
        """Log the exception that is being handled."""
        log.exception("a message handler raised")

    # Within.

    def _emit(self, subject: str, data: bytes, headers: Headers) -> None:
        self._server.emit(subject, data, headers)

    async def _call(self, work: Callable[[], Result]) -> Result:
        self._check_open()
        return await self._exchange.call(work, self._timeout)

    def _guard(self, receive: Callable[..., None], args: tuple[object, ...]) -> None:
        # As over a wire: what is called here knows nothing of the sender's context.
        try:
            self._context.copy().run(receive, *args)
        except Exception:
            self.handler_failed()

    def _detach(self) -> None:
        self._exchange.live = False
        self._out.cut()
        self._in.cut()
        for subscription in self._subscriptions:
            self._server.unlisten(subscription)
        for consumption in self._consumptions:
            consumption.cut()
            if consumption in consumption.consumer.pullers:
                consumption.consumer.pullers.remove(consumption)

    def _refusal(self, subject: str, data: bytes, headers: Headers) -> Exception | None:
        """Why a message cannot be sent at all."""
        if self._over:
            return NotConnected(self._over, url=URL)
        if not subject or " " in subject or not subject.isprintable():
            return TransportError(f"{subject!r} is not a subject")
        size = len(data)
        if headers:
            size += 12
            for name, value in headers.items():
                if "\n" in value or "\r" in value:
                    return TransportError("a header's name or value holds a line break")
                size += len(name.encode()) + len(value.encode()) + 4
        limit = self._server.max_payload
        if size > limit:
            text = f"a message of {size} bytes on {subject} exceeds the server's max_payload of {limit} bytes"
            return PayloadTooLarge(text, where=subject, size=size, limit=limit)
        return None

    def _failed(self, error: Exception) -> "asyncio.Future[Any]":
        future: asyncio.Future[Any] = self._loop.create_future()
        future.set_exception(error)
        return future

    def _check_open(self) -> None:
        if self._over:
            raise NotConnected(self._over, url=URL)
