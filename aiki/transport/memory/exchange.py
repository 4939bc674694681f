"""What awaits an answer on a connection in memory: writes, requests, and calls to the server."""

import asyncio
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from aiki.transport.memory.link import Link
from aiki.transport.memory.message import MemoryMessage, ReplyTo
from aiki.transport.port import Ack, Headers, Message
from aiki.types.errors import NoResponders, NotConnected, OutcomeUnknown, RequestTimeout, TransportError

if TYPE_CHECKING:
    from aiki.transport.memory.server import MemoryServer
    from aiki.transport.memory.transport import MemoryTransport

__all__ = ["URL", "MemoryExchange"]

Result = TypeVar("Result")
URL = "memory://"


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


class MemoryExchange:
    """Pairs what is put into `outward` with what comes back through `inward`; methods said to be at the server are called by the links."""

    def __init__(self, transport: "MemoryTransport", server: "MemoryServer", outward: Link, inward: Link) -> None:
        self.live = True
        self.published = 0
        self.published_bytes = 0
        self._transport = transport
        self._server = server
        self._out = outward
        self._in = inward
        self._loop = asyncio.get_running_loop()
        self._numbers = itertools.count(1)
        self._writes: dict[int, _Write] = {}
        self._asks: dict[int, _Ask] = {}
        self._calls: dict[int, tuple[asyncio.Future[Any], Callable[[], Any]]] = {}
        self._parked: list[Callable[[], None]] = []

    def store(self, subject: str, data: bytes, headers: Headers, timeout: float) -> "asyncio.Future[Ack]":
        """Publish to a stream."""
        future: asyncio.Future[Ack] = self._loop.create_future()
        number = next(self._numbers)
        self._writes[number] = _Write(future, subject, bytes(data), headers, self._loop.time() + timeout)
        if self.live:
            self._write(number)
        else:
            self._parked.append(lambda: self._write(number))
            self._loop.call_later(timeout, self._give_up, number)
        return future

    def ask(
        self, subject: str, data: bytes, headers: Headers, timeout: float, pending: Callable[[Message], bool] | None
    ) -> "asyncio.Future[Message]":
        """Send a request; the first answer that is not `pending` is the result."""
        future: asyncio.Future[Message] = self._loop.create_future()
        number = next(self._numbers)
        self._asks[number] = _Ask(future, subject, timeout, pending, self._loop.call_later(timeout, self._unanswered, number))

        def send() -> None:
            if number in self._asks and not future.cancelled():
                self._out.carry(self._request, number, subject, bytes(data), headers)

        self.carry(send)
        return future

    async def call(self, work: Callable[[], Result], timeout: float) -> Result:
        """Have the server do `work`, once the connection is up, and again when it drops before the answer."""
        number = next(self._numbers)
        future: asyncio.Future[Result] = self._loop.create_future()
        self._calls[number] = (future, work)
        timer = self._loop.call_later(timeout, self._call_unanswered, number, timeout)
        if self.live:
            self._out.carry(self._serve, number)
        try:
            return await future
        finally:
            timer.cancel()
            self._calls.pop(number, None)

    def carry(self, send: Callable[[], None]) -> None:
        """Call `send` now, or after the reconnect."""
        if self.live:
            send()
        else:
            self._parked.append(send)

    def answered(self, number: int, subject: str, data: bytes, headers: Headers) -> None:
        """An answer to a request has arrived."""
        ask = self._asks.get(number)
        if ask is None:
            return
        message = MemoryMessage(self._transport, subject, data, headers, None)
        if ask.pending is not None and ask.pending(message):
            ask.timer.cancel()
            self._asks[number] = ask._replace(timer=self._loop.call_later(ask.timeout, self._unanswered, number))
            return
        ask.timer.cancel()
        del self._asks[number]
        if not ask.future.done():
            ask.future.set_result(message)

    def restored(self) -> None:
        """The connection is back: send what waited, in its order."""
        self.live = True
        for number in self._calls:
            self._out.carry(self._serve, number)
        parked, self._parked = self._parked, []
        for send in parked:
            send()

    def fail(self, why: str) -> None:
        """What is open will have no answer."""
        self.live = False
        for write in self._writes.values():
            if not write.future.done():
                write.future.set_exception(_unknown(write.subject, why))
        for ask in self._asks.values():
            ask.timer.cancel()
            if not ask.future.done():
                ask.future.set_exception(RequestTimeout(f"{ask.subject}: {why}", subject=ask.subject, timeout=ask.timeout))
        self._writes.clear()
        self._asks.clear()

    def forget(self) -> None:
        """The process has died: what is open stays open for ever."""
        self.live = False
        for ask in self._asks.values():
            ask.timer.cancel()
        self._writes.clear()
        self._asks.clear()
        self._calls.clear()
        self._parked.clear()

    async def settled(self) -> None:
        """Wait until every write has its answer."""
        if self._writes:
            await asyncio.wait([write.future for write in self._writes.values()])

    def _write(self, number: int) -> None:
        write = self._writes.get(number)
        if write is None or write.future.cancelled():
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
            self.published += 1
            self.published_bytes += len(write.data)
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
        if self.live:
            self._forget(number)
            return
        write = self._writes.pop(number, None)
        if write is not None and not write.future.done():
            write.future.set_exception(NotConnected("NATS was away for the whole time-out; nothing was written", url=URL))

    def _request(self, number: int, subject: str, data: bytes, headers: Headers) -> None:
        """At the server."""
        if not self._server.emit(subject, data, headers, ReplyTo(self._transport, number)):
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

    def _call_unanswered(self, number: int, timeout: float) -> None:
        call = self._calls.pop(number, None)
        if call is not None and not call[0].done():
            call[0].set_exception(RequestTimeout(f"the server did not answer within {timeout:g} s", subject="$JS.API", timeout=timeout))


def _unknown(subject: str, why: str) -> OutcomeUnknown:
    return OutcomeUnknown(f"{why}: the write to {subject} may or may not have happened", subject=subject)
