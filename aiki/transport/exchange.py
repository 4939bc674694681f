"""What awaits an answer on a connection: publish acks and requests, told apart by the last token of one wildcard inbox.

Time-outs are found by one periodic sweep, so that none costs a timer.
"""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from aiki.transport.connection import BUFFER_LIMIT, Connection
from aiki.transport.headers import parse_status
from aiki.transport.message import WireMessage, publication
from aiki.transport.port import Ack
from aiki.types.errors import (
    Conflict,
    NoResponders,
    NotConnected,
    OutcomeUnknown,
    PayloadTooLarge,
    RequestTimeout,
    StreamMissing,
    TransportError,
)

__all__ = ["ApiError", "Exchange", "api_error"]

SWEEP = 0.1
CONFLICTS = (10071, 10164)
STREAM_NOT_FOUND = 10059
MESSAGE_TOO_LARGE = 10054


class ApiError(msgspec.Struct):
    """JetStream's description of a failure. `err_code` is the stable one."""

    code: int = 0
    err_code: int = 0
    description: str = ""


class _StoreAnswer(msgspec.Struct, gc=False):
    seq: int = 0
    duplicate: bool = False
    error: ApiError | None = None


class _Write(NamedTuple):
    future: "asyncio.Future[Ack]"
    subject: str
    size: int
    deadline: float


class _Ask:
    __slots__ = ("deadline", "future", "parked", "pending", "subject", "timeout")

    def __init__(
        self,
        future: "asyncio.Future[WireMessage]",
        subject: str,
        timeout: float,
        pending: Callable[[WireMessage], bool] | None,
        deadline: float,
    ) -> None:
        self.future = future
        self.subject = subject
        self.timeout = timeout
        self.pending = pending
        self.deadline = deadline


class _Parked(NamedTuple):
    """Bytes that wait for a reconnect; `token` names what awaits their answer (none: an acknowledgement)."""

    token: bytes
    parts: tuple[bytes, ...]


class Exchange:
    """Pairs what is sent with its answers. `published` and `published_bytes` count the acknowledged writes."""

    def __init__(self, connection: Connection, inbox: str) -> None:
        self.published = 0
        self.published_bytes = 0
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._prefix = f"{inbox}."
        self._skip = len(self._prefix)
        self._last = 0
        self._writes: dict[bytes, _Write] = {}
        self._asks: dict[bytes, _Ask] = {}
        self._parked: list[_Parked] = []
        self._parked_size = 0
        self._ended = False
        self._decode = msgspec.json.Decoder(_StoreAnswer).decode
        self._timer: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Listen for answers; to be called once, when the connection is up."""
        self._connection.listen(f"{self._prefix}*", self._receive)

    def store(self, subject: str, lines: str, data: bytes, timeout: float) -> "asyncio.Future[Ack]":
        """Publish to a stream; `lines` are header lines, each ended by CRLF."""
        future: asyncio.Future[Ack] = self._loop.create_future()
        if "*" in subject or ">" in subject:
            future.set_exception(TransportError(f"{subject!r} is a pattern, not a subject"))
            return future
        if type(data) is not bytes:
            data = bytes(data)
        self._last += 1
        token = b"%d" % self._last
        command, total = publication(subject, f"{self._prefix}{self._last}", lines, len(data))
        if (error := self._refusal(subject, total)) is not None:
            future.set_exception(error)
            return future
        self._writes[token] = _Write(future, subject, len(data), self._loop.time() + timeout)
        self._send(token, command, data)
        return future

    def ask(
        self,
        subject: str,
        lines: str,
        data: bytes,
        timeout: float,
        pending: Callable[[WireMessage], bool] | None = None,
    ) -> "asyncio.Future[WireMessage]":
        """Send a request; the first answer that is not `pending` is the result."""
        future: asyncio.Future[WireMessage] = self._loop.create_future()
        if type(data) is not bytes:
            data = bytes(data)
        self._last += 1
        token = b"%d" % self._last
        command, total = publication(subject, f"{self._prefix}{self._last}", lines, len(data))
        if (error := self._refusal(subject, total)) is not None:
            future.set_exception(error)
            return future
        self._asks[token] = _Ask(future, subject, timeout, pending, self._loop.time() + timeout)
        self._send(token, command, data)
        return future

    def send(self, subject: str, lines: str, data: bytes) -> None:
        """Send a core message that nobody answers; one that cannot be sent at all is raised as an error."""
        if type(data) is not bytes:
            data = bytes(data)
        command, total = publication(subject, "", lines, len(data))
        if (error := self._refusal(subject, total)) is not None:
            raise error
        if self._connection.live:
            self._connection.write(command, data, b"\r\n")

    def settle(self, command: bytes) -> None:
        """Send an acknowledgement. While disconnected it waits: it still counts after the reconnect."""
        if self._connection.live:
            self._connection.write(command)
        elif not self._ended and self._parked_size + len(command) <= BUFFER_LIMIT:
            self._park(b"", (command,))

    def lost(self) -> None:
        """The connection dropped: what was sent and not answered never will be."""
        parked = {one.token for one in self._parked}
        for token, write in list(self._writes.items()):
            if token not in parked:
                del self._writes[token]
                _fail(write.future, _unknown(write.subject, "the connection was lost before the answer came"))
        for token, ask in list(self._asks.items()):
            if token not in parked:
                del self._asks[token]
                _fail(ask.future, _timed_out(ask, "the connection was lost before an answer came"))

    def restored(self) -> None:
        """Connected again: send what waited, in its order."""
        parked, self._parked, self._parked_size = self._parked, [], 0
        for token, parts in parked:
            if not token or self._awaited(token):
                self._connection.write(*parts)

    async def settled(self) -> None:
        """Wait until every write has its answer."""
        futures = [write.future for write in self._writes.values()]
        if futures:
            await asyncio.wait(futures)

    def end(self) -> None:
        """The connection was closed by its owner."""
        if self._timer is not None:
            self._timer.cancel()
        for write in self._writes.values():
            _fail(write.future, _unknown(write.subject, "the connection was closed before the answer came"))
        for ask in self._asks.values():
            _fail(ask.future, _timed_out(ask, "the connection was closed before an answer came"))
        self._writes.clear()
        self._asks.clear()
        self._parked.clear()
        self._ended = True

    def _send(self, token: bytes, command: bytes, data: bytes) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(SWEEP, self._sweep)
        if self._connection.live:
            self._connection.write(command, data, b"\r\n")
        else:
            self._park(token, (command, data, b"\r\n"))

    def _refusal(self, subject: str, total: int) -> Exception | None:
        """Why a message cannot be sent at all."""
        connection = self._connection
        if not subject or " " in subject or not subject.isprintable():
            return TransportError(f"{subject!r} is not a subject")
        if total > connection._max_payload:
            limit = connection._max_payload
            return PayloadTooLarge(
                f"a message of {total} bytes on {subject} exceeds the server's max_payload of {limit} bytes",
                where=subject,
                size=total,
                limit=limit,
            )
        if connection._pending_data_size + self._parked_size + total > BUFFER_LIMIT:
            return NotConnected(f"buffer full: {BUFFER_LIMIT >> 20} MB wait to be sent to {connection.url}", url=connection.url)
        return None

    def _awaited(self, token: bytes) -> bool:
        """Whether somebody still waits for an answer."""
        one = self._writes.get(token) or self._asks.get(token)
        return one is not None and not one.future.cancelled()

    def _park(self, token: bytes, parts: tuple[bytes, ...]) -> None:
        self._parked.append(_Parked(token, parts))
        self._parked_size += sum(map(len, parts))

    def _receive(self, subject: bytes, reply: bytes, block: bytes, data: bytes) -> None:
        token = subject[self._skip :]
        write = self._writes.pop(token, None)
        if write is not None:
            self._stored(write, block, data)
            return
        ask = self._asks.get(token)
        if ask is None:
            return
        message = WireMessage(self.send, subject, reply, block, data)
        if block and not data and parse_status(block) == 503:
            del self._asks[token]
            _fail(ask.future, NoResponders(f"nobody listens on {ask.subject}", subject=ask.subject))
        elif ask.pending is not None and ask.pending(message):
            ask.deadline = self._loop.time() + ask.timeout
        else:
            del self._asks[token]
            if not ask.future.done():
                ask.future.set_result(message)

    def _stored(self, write: _Write, block: bytes, data: bytes) -> None:
        future, subject, size, _ = write
        if not data and parse_status(block) == 503:
            _fail(future, StreamMissing(f"no stream stores {subject}: run `aiki init`", stream=None, subject=subject))
            return
        try:
            answer = self._decode(data)
        except msgspec.DecodeError as error:
            _fail(future, TransportError(f"{subject} is not a stream's: its listener answered {data[:80]!r} ({error})"))
            return
        if answer.error is not None:
            _fail(future, api_error(answer.error, subject))
            return
        if not answer.duplicate:
            self.published += 1
            self.published_bytes += size
        if not future.done():
            future.set_result(Ack(answer.seq, answer.duplicate))

    def _sweep(self) -> None:
        self._timer = None
        now = self._loop.time()
        parked = {one.token for one in self._parked}
        for token in [token for token, write in self._writes.items() if write.deadline <= now]:
            write = self._writes.pop(token)
            if token in parked:
                _fail(write.future, NotConnected("NATS was away for the whole time-out; nothing was written", url=self._connection.url))
            else:
                _fail(write.future, _unknown(write.subject, "no answer came in time"))
        for token in [token for token, ask in self._asks.items() if ask.deadline <= now]:
            ask = self._asks.pop(token)
            _fail(ask.future, _timed_out(ask, f"nobody answered within {ask.timeout:g} s"))
        if parked:
            self._parked = [one for one in self._parked if not one.token or self._awaited(one.token)]
            self._parked_size = sum(len(part) for one in self._parked for part in one.parts)
        if self._writes or self._asks:
            self._timer = self._loop.call_later(SWEEP, self._sweep)


def api_error(error: ApiError, subject: str) -> TransportError:
    """JetStream's refusal of a write or request as an exception."""
    if error.err_code in CONFLICTS:
        return Conflict(f"another write to {subject} came first ({error.description})", subject=subject)
    if error.err_code == STREAM_NOT_FOUND:
        return StreamMissing(f"the stream behind {subject} does not exist: run `aiki init`", stream=None, subject=subject)
    return TransportError(f"{subject}: {error.description} ({error.err_code})", subject=subject, err_code=error.err_code)


def _unknown(subject: str, why: str) -> OutcomeUnknown:
    return OutcomeUnknown(f"{why}: the write to {subject} may or may not have happened", subject=subject)


def _timed_out(ask: _Ask, why: str) -> RequestTimeout:
    return RequestTimeout(f"{ask.subject}: {why}", subject=ask.subject, timeout=ask.timeout)


def _fail(future: "asyncio.Future[Ack] | asyncio.Future[WireMessage]", error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
