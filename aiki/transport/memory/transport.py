"""A connection to a `MemoryServer`."""

import asyncio
import contextlib
import contextvars
import itertools
import logging
import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from aiki.transport.memory.consumption import MemoryConsumption
from aiki.transport.memory.link import Link
from aiki.transport.memory.message import MemoryMessage, MemorySubscription, ReplyTo
from aiki.transport.port import Ack, ConsumerSpec, Consumption, Delivery, Headers, Message, ServerInfo, Stored, StreamSpec, Subscription
from aiki.types.errors import NoResponders, NotConnected, OutcomeUnknown, PayloadTooLarge, RequestTimeout, TransportError

if TYPE_CHECKING:
    from aiki.transport.memory.server import MemoryServer

__all__ = ["MemoryTransport"]

Result = TypeVar("Result")
URL = "memory://"

log = logging.getLogger("aiki.transport")


class _Write(NamedTuple):
    future: "asyncio.Future[Ack]"
    subject: str
    data: bytes
    headers: Headers
    deadline: float


class _Ask(NamedTuple):
    future: "asyncio.Future[Message]"
    subject: str
    timeout: float
    pending: Callable[[Message], bool] | None
    timer: asyncio.TimerHandle


class MemoryTransport:
    """See `aiki.transport.port.Transport`; made by `MemoryServer.connect`. For tests it can be cut off, and its process can die."""

    def __init__(self, server: "MemoryServer", name: str, timeout: float) -> None:
        self.name = name
        self._server = server
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._out = Link(server, self._loop)
        self._in = Link(server, self._loop)
        self._live = True
        self._over = ""
        self._numbers = itertools.count(1)
        self._writes: dict[int, _Write] = {}
        self._asks: dict[int, _Ask] = {}
        self._calls: dict[int, tuple[asyncio.Future[Any], Callable[[], Any]]] = {}
        self._parked: list[Callable[[], None]] = []
        self._subscriptions: dict[MemorySubscription, None] = {}
        self._consumptions: dict[MemoryConsumption, None] = {}
        self._handlers: list[Callable[[], None]] = []
        self._context = contextvars.copy_context()
        self._published = 0
        self._published_bytes = 0

    # What tests do to a connection.

    def crash(self) -> None:
        """The process dies: nothing that is on its way takes effect, no handler is called again, open futures stay open for ever."""
        self._over = "this connection's process has crashed"
        self._detach()
        for ask in self._asks.values():
            ask.timer.cancel()
        for open_ones in (self._writes, self._asks, self._calls, self._parked):
            open_ones.clear()

    def disconnect(self) -> None:
        """The network is cut: what is on its way is lost, and what is asked for from now on waits for `reconnect`."""
        if self._over or not self._live:
            return
        self._detach()
        self._fail_open("the connection was lost before the answer came")

    def reconnect(self) -> None:
        """The network is back."""
        if self._over or self._live:
            return
        self._live = True
        for subscription in self._subscriptions:
            self._server.listen(subscription)
        for number in self._calls:
            self._out.carry(self._serve, number)
        parked, self._parked = self._parked, []
        for send in parked:
            send()
        for consumption in self._consumptions:
            consumption.consumer.pullers.append(consumption)
            self.ask_for_more(consumption)
        for handler in list(self._handlers):
            handler()

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
        future: asyncio.Future[Ack] = self._loop.create_future()
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
        if refusal is not None:
            future.set_exception(refusal)
            return future
        number = next(self._numbers)
        patience = self._timeout if timeout is None else timeout
        self._writes[number] = _Write(future, subject, bytes(data), full, self._loop.time() + patience)
        if self._live:
            self._write(number)
        else:
            self._parked.append(lambda: self._write(number))
            self._loop.call_later(patience, self._give_up, number)
        return future

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
        instant = datetime.fromtimestamp(math.ceil(at * 1e6) / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        full = {**(headers or {}), "Nats-Schedule": f"@at {instant}", "Nats-Schedule-Target": target}
        return self.publish(subject, data, headers=full, message_id=message_id, timeout=timeout)

    async def cancel_schedule(self, stream: str, subject: str) -> None:
        await self.purge(stream, subject)

    # Core messages.

    def send(self, subject: str, data: bytes, *, headers: Headers | None = None) -> None:
        self._check_open()
        if self._live:
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
        future: asyncio.Future[Message] = self._loop.create_future()
        refusal = self._refusal(subject, data, headers or {})
        if refusal is not None:
            future.set_exception(refusal)
            return future
        number = next(self._numbers)
        self._asks[number] = _Ask(future, subject, timeout, pending, self._loop.call_later(timeout, self._unanswered, number))

        def ask() -> None:
            if number in self._asks:
                self._out.carry(self._ask, number, subject, bytes(data), headers or {})

        if self._live:
            ask()
        else:
            self._parked.append(ask)
        return future

    async def subscribe(self, subject: str, handler: Callable[[Message], None]) -> Subscription:
        self._check_open()
        subscription = MemorySubscription(self, subject, handler)
        self._subscriptions[subscription] = None
        if self._live:
            self._server.listen(subscription)
            await self._call(lambda: None)
        return subscription

    # Consumers.

    async def consume(self, stream: str, durable: str, handler: Callable[[Delivery], None], *, window: int) -> Consumption:
        consumer = await self._call(lambda: self._server.consumer(stream, durable))
        consumption = MemoryConsumption(self, consumer, handler, window)
        self._consumptions[consumption] = None
        if self._live:
            consumer.pullers.append(consumption)
            self.ask_for_more(consumption)
        return consumption

    async def backlog(self, stream: str, durable: str) -> tuple[int, int]:
        return await self._call(lambda: self._server.consumer(stream, durable).backlog())

    # Streams.

    async def last(self, stream: str, subject: str) -> Stored | None:
        return await self._call(lambda: self._server.stream(stream).last(subject))

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

    # The connection.

    def server(self) -> ServerInfo:
        return ServerInfo(version="memory", jetstream=True, api_level=0, max_payload=self._server.max_payload)

    def on_reconnect(self, handler: Callable[[], None]) -> None:
        self._handlers.append(handler)

    @property
    def published(self) -> int:
        return self._published

    @property
    def published_bytes(self) -> int:
        return self._published_bytes

    async def close(self) -> None:
        if self._over:
            return
        if self._live:
            with contextlib.suppress(TransportError):
                await self._call(lambda: None)
        self._over = "this connection has been closed"
        self._detach()
        self._parked.clear()
        self._fail_open("the connection was closed before the answer came")

    # For the parts of a connection.

    def tell(self, verdict: Callable[..., None], *args: object) -> bool:
        """Carry an acknowledgement; while cut off it waits. False when it is lost."""
        if self._over:
            return False
        if not self._live:
            self._parked.append(lambda: self._out.carry(verdict, *args))
            return True
        return self._out.carry_frail(verdict, *args)

    def deliver(self, receive: Callable[..., None], *args: object) -> bool:
        """Carry a message from the server to here; false when it is lost."""
        return self._live and self._in.carry_frail(self._guard, receive, args)

    def answer(self, reply: ReplyTo, data: bytes, headers: Headers) -> None:
        """Carry the answer to a request."""
        if self._live:
            self._out.carry(reply.transport.receive_answer, reply.number, bytes(data), headers)

    def receive_answer(self, number: int, data: bytes, headers: Headers) -> None:
        """At the server: pass an answer on to here."""
        self.deliver(self.answered, number, "", data, headers)

    def answered(self, number: int, subject: str, data: bytes, headers: Headers) -> None:
        """An answer has arrived."""
        ask = self._asks.get(number)
        if ask is None:
            return
        message = MemoryMessage(self, subject, data, headers, None)
        ask.timer.cancel()
        if ask.pending is not None and ask.pending(message):
            self._asks[number] = ask._replace(timer=self._loop.call_later(ask.timeout, self._unanswered, number))
            return
        del self._asks[number]
        if not ask.future.done():
            ask.future.set_result(message)

    def unsubscribe(self, subscription: MemorySubscription) -> None:
        """Forget a subscription."""
        if subscription in self._subscriptions:
            del self._subscriptions[subscription]
            self._server.unlisten(subscription)

    def ask_for_more(self, consumption: MemoryConsumption) -> None:
        """Tell the server that there may be room."""
        if self._live:
            self._out.carry(consumption.consumer.hand_out)

    async def end_consumption(self, consumption: MemoryConsumption) -> None:
        """Stop delivering."""
        if consumption in self._consumptions:
            del self._consumptions[consumption]
            if consumption in consumption.consumer.pullers:
                consumption.consumer.pullers.remove(consumption)
            if self._live:
                await self._call(lambda: None)

    def handler_failed(self) -> None:
        """Log the exception that is being handled."""
        log.exception("a message handler raised")

    # Within.

    def _write(self, number: int) -> None:
        write = self._writes.get(number)
        if write is None:
            return
        faults = self._server.faults
        lost = faults is not None and self._server.dice.falls(faults.unknown)
        if lost:
            self._loop.call_at(write.deadline, self._forget, number)
            if self._server.dice.falls(0.5):
                return
        self._out.carry(self._store, number, write, lost)

    def _store(self, number: int, write: _Write, lost: bool) -> None:
        """At the server."""
        result: Ack | TransportError
        try:
            result = self._server.store(write.subject, write.data, write.headers)
        except TransportError as error:
            result = error
        if not lost:
            self._in.carry(self._stored, number, result)

    def _stored(self, number: int, result: Ack | TransportError) -> None:
        write = self._writes.pop(number, None)
        if write is None:
            return
        future = write.future
        if isinstance(result, TransportError):
            if not future.done():
                future.set_exception(result)
            return
        if not result.duplicate:
            self._published += 1
            self._published_bytes += len(write.data)
        if future.done():
            return
        if self._loop.time() > write.deadline:
            future.set_exception(_unknown(write.subject, "no answer came in time"))
        else:
            future.set_result(result)

    def _forget(self, number: int) -> None:
        write = self._writes.pop(number, None)
        if write is not None and not write.future.done():
            write.future.set_exception(_unknown(write.subject, "no answer came in time"))

    def _give_up(self, number: int) -> None:
        """The time-out of a write that was made while cut off."""
        if self._live:
            self._forget(number)
            return
        write = self._writes.pop(number, None)
        if write is not None and not write.future.done():
            write.future.set_exception(NotConnected("NATS was away for the whole time-out; nothing was written", url=URL))

    def _emit(self, subject: str, data: bytes, headers: Headers) -> None:
        self._server.emit(subject, data, headers)

    def _ask(self, number: int, subject: str, data: bytes, headers: Headers) -> None:
        """At the server."""
        if not self._server.emit(subject, data, headers, ReplyTo(self, number)):
            self._in.carry(self._nobody, number)

    def _nobody(self, number: int) -> None:
        ask = self._asks.pop(number, None)
        if ask is not None:
            ask.timer.cancel()
            if not ask.future.done():
                ask.future.set_exception(NoResponders(f"nobody listens on {ask.subject}", subject=ask.subject))

    def _unanswered(self, number: int) -> None:
        ask = self._asks.pop(number, None)
        if ask is not None and not ask.future.done():
            ask.future.set_exception(
                RequestTimeout(f"{ask.subject}: nobody answered within {ask.timeout:g} s", subject=ask.subject, timeout=ask.timeout)
            )

    async def _call(self, work: Callable[[], Result]) -> Result:
        """Have the server do `work`, once the connection is up, and again when it drops before the answer."""
        self._check_open()
        number = next(self._numbers)
        future: asyncio.Future[Result] = self._loop.create_future()
        self._calls[number] = (future, work)
        timer = self._loop.call_later(self._timeout, self._call_unanswered, number)
        if self._live:
            self._out.carry(self._serve, number)
        try:
            return await future
        finally:
            timer.cancel()
            self._calls.pop(number, None)

    def _serve(self, number: int) -> None:
        """At the server."""
        call = self._calls.get(number)
        if call is None:
            return
        try:
            result, error = call[1](), None
        except TransportError as raised:
            result, error = None, raised
        self._in.carry(self._served, number, result, error)

    def _served(self, number: int, result: object, error: TransportError | None) -> None:
        call = self._calls.pop(number, None)
        if call is None or call[0].done():
            return
        if error is not None:
            call[0].set_exception(error)
        else:
            call[0].set_result(result)

    def _call_unanswered(self, number: int) -> None:
        call = self._calls.pop(number, None)
        if call is not None and not call[0].done():
            call[0].set_exception(
                RequestTimeout(f"the server did not answer within {self._timeout:g} s", subject="$JS.API", timeout=self._timeout)
            )

    def _guard(self, receive: Callable[..., None], args: tuple[object, ...]) -> None:
        # As over a wire: what is called here knows nothing of the sender's context.
        try:
            self._context.copy().run(receive, *args)
        except Exception:
            self.handler_failed()

    def _detach(self) -> None:
        self._live = False
        self._out.cut()
        self._in.cut()
        for subscription in self._subscriptions:
            self._server.unlisten(subscription)
        for consumption in self._consumptions:
            consumption.cut()
            if consumption in consumption.consumer.pullers:
                consumption.consumer.pullers.remove(consumption)

    def _fail_open(self, why: str) -> None:
        for write in self._writes.values():
            if not write.future.done():
                write.future.set_exception(_unknown(write.subject, why))
        for ask in self._asks.values():
            ask.timer.cancel()
            if not ask.future.done():
                ask.future.set_exception(RequestTimeout(f"{ask.subject}: {why}", subject=ask.subject, timeout=ask.timeout))
        self._writes.clear()
        self._asks.clear()

    def _refusal(self, subject: str, data: bytes, headers: Headers) -> Exception | None:
        """Why a message cannot be sent at all."""
        if self._over:
            return NotConnected(self._over, url=URL)
        if not subject or " " in subject or "*" in subject or ">" in subject or not subject.isprintable():
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

    def _check_open(self) -> None:
        if self._over:
            raise NotConnected(self._over, url=URL)


def _unknown(subject: str, why: str) -> OutcomeUnknown:
    return OutcomeUnknown(f"{why}: the write to {subject} may or may not have happened", subject=subject)
