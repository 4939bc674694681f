"""The transport over NATS JetStream."""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import nats.errors
from nats.nuid import NUID

from aiki.transport.api import NO_MESSAGE, AccountAnswer, Api, MessageAnswer, StreamAnswer
from aiki.transport.catalogue import Catalogue
from aiki.transport.connection import Connection
from aiki.transport.exchange import Exchange
from aiki.transport.headers import format_headers, parse_headers
from aiki.transport.instant import format_instant, parse_instant
from aiki.transport.message import WireMessage
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
from aiki.transport.pull import JetStreamConsumption
from aiki.transport.topology import stream_spec
from aiki.types.errors import (
    NoResponders,
    NotConnected,
    ServerTooOld,
    TransportError,
)

__all__ = ["REQUIRED_VERSION", "JetStreamTransport"]

REQUIRED_VERSION = (2, 14, 0)
"""The first server with message schedules and per-message TTL as they are used here."""

MODE_LIFETIME = 10.0
CLOSE_PATIENCE = 2.0
DIRECT_HEADERS = ("Nats-Stream", "Nats-Subject", "Nats-Sequence", "Nats-Time-Stamp", "Nats-Num-Pending", "Nats-Last-Sequence")
REMOVALS = ("DEL", "PURGE")

log = logging.getLogger("aiki.transport")


class _Mode(NamedTuple):
    """Whether a stream's newest messages may be read directly, and until when that is believed."""

    direct: bool
    expires: float


class JetStreamTransport:
    """A connection to NATS JetStream; see `aiki.transport.port.Transport` for the contract. Made by `connect`."""

    def __init__(self, timeout: float, domain: str | None, inbox_prefix: str) -> None:
        self._timeout = timeout
        self._closed = False
        self._level = 0
        self._connection = Connection(self._lost, self._restored)
        self._inbox = f"{inbox_prefix}.{NUID().next().decode()}"
        self._exchange = Exchange(self._connection, self._inbox)
        self._api = Api(self._exchange, domain, timeout)
        self._catalogue = Catalogue(self._api)
        self._modes: dict[str, _Mode] = {}
        self._consumptions: dict[JetStreamConsumption, None] = {}
        self._consumed = 0
        self._handlers: list[Callable[[], None]] = []

    @classmethod
    async def connect(
        cls, url: str | Sequence[str], *, name: str = "aiki", timeout: float = 5.0, domain: str | None = None, **nats_options: Any
    ) -> "JetStreamTransport":
        """Connect to NATS and check that it will do, or raise `NotConnected`, `JetStreamDisabled` or `ServerTooOld`.

        `timeout` bounds the connecting, and is the default for writes. `domain`: a JetStream domain other than the server's own.
        `nats_options` go to nats-py (`user_credentials`, `tls`, `token`, `inbox_prefix`, …). The connection then reconnects for ever.
        """
        self = cls(timeout, domain, nats_options.pop("inbox_prefix", "_INBOX"))
        urls = [url] if isinstance(url, str) else list(url)
        await self._connection.open(urls, name=name, timeout=timeout, **nats_options)
        self._exchange.open()
        try:
            await self._check_server()
        except BaseException:
            await self.close()
            raise
        return self

    async def _check_server(self) -> None:
        info = self._connection.info
        found = info.get("version", "0")
        if _version(found) < REQUIRED_VERSION:
            required = ".".join(map(str, REQUIRED_VERSION))
            raise ServerTooOld(f"the NATS server is {found}; Aiki needs {required} or later", version=found, required=required)
        answer = await self._api.demand("INFO", None, AccountAnswer, "")
        self._level = answer.api.level

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
        lines = "" if expect is None else f"Nats-Expected-Last-Subject-Sequence: {expect}\r\n"
        if message_id is not None or headers or ttl is not None:
            extra = dict(headers) if headers else {}
            if message_id is not None:
                extra["Nats-Msg-Id"] = message_id
            if ttl is not None:
                extra["Nats-TTL"] = f"{max(math.ceil(ttl * 1000), 1000)}ms"
            try:
                lines += format_headers(extra)
            except TransportError as error:
                return self._failed(error)
        if self._closed:
            return self._failed(self._ended())
        return self._exchange.store(subject, lines, data, self._timeout if timeout is None else timeout)

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
        self._check_open()
        self._exchange.send(subject, format_headers(headers) if headers else "", data)

    def request(
        self,
        subject: str,
        data: bytes,
        *,
        headers: Headers | None = None,
        timeout: float = 5.0,
        pending: Callable[[Message], bool] | None = None,
    ) -> "asyncio.Future[Message]":
        if self._closed:
            return self._failed(self._ended())
        try:
            lines = format_headers(headers) if headers else ""
        except TransportError as error:
            return self._failed(error)
        return self._exchange.ask(subject, lines, data, timeout, pending)  # type: ignore[return-value]

    async def subscribe(self, subject: str, handler: Callable[[Message], None], *, group: str = "") -> Subscription:
        self._check_open()
        if not subject or " " in subject or not subject.isprintable():
            raise TransportError(f"{subject!r} is not a subject")
        exchange = self._exchange

        def receive(subject: bytes, reply: bytes, block: bytes, data: bytes) -> None:
            handler(WireMessage(exchange.send, subject, reply, block, data))

        sid = self._connection.listen(subject, receive, group)
        await self._flush()
        return _JetStreamSubscription(self._connection, sid)

    # Consumers.

    async def consume(self, stream: str, durable: str, handler: Callable[[Delivery], None], *, window: int) -> Consumption:
        self._check_open()
        await self.backlog(stream, durable)
        self._consumed += 1
        consumption = JetStreamConsumption(
            self._connection,
            self._exchange,
            f"{self._api.prefix}.CONSUMER.MSG.NEXT.{stream}.{durable}",
            f"{self._inbox}.pull.{self._consumed}",
            handler,
            window,
            self._forget,
        )
        self._consumptions[consumption] = None
        return consumption

    async def consumers(self, stream: str) -> list[ConsumerInfo]:
        self._check_open()
        return await self._catalogue.consumers(stream)

    async def pause_consumer(self, stream: str, durable: str, until: float | None) -> None:
        self._check_open()
        await self._catalogue.pause_consumer(stream, durable, until)

    async def backlog(self, stream: str, durable: str) -> tuple[int, int]:
        self._check_open()
        return await self._catalogue.backlog(stream, durable)

    async def pullers(self, stream: str, durable: str) -> int:
        self._check_open()
        return await self._catalogue.pullers(stream, durable)

    # Streams.

    async def last(self, stream: str, subject: str) -> Stored | None:
        self._check_open()
        mode = self._modes.get(stream)
        if mode is None or mode.expires < time.monotonic():
            mode = await self._read_mode(stream)
        if mode.direct:
            try:
                message = await self._exchange.ask(f"{self._api.prefix}.DIRECT.GET.{stream}.{subject}", "", b"", self._timeout)
                return _direct(message, subject)
            except NoResponders:
                self._modes.pop(stream, None)
        return await self._read(stream, subject, {"last_by_subj": subject})

    async def next(self, stream: str, subject: str, sequence: int) -> Stored | None:
        self._check_open()
        return await self._read(stream, subject, {"seq": sequence, "next_by_subj": subject})

    async def _read(self, stream: str, subject: str, which: dict[str, str | int]) -> Stored | None:
        answer = await self._api.call(f"STREAM.MSG.GET.{stream}", which, MessageAnswer)
        if answer.error is not None:
            if answer.error.err_code == NO_MESSAGE:
                return None
            raise self._api.failure(answer.error, subject, stream)
        found = answer.message
        assert found is not None, "an answer without error has a message"
        return _stored(found.subject, found.data, parse_headers(found.hdrs), found.seq, parse_instant(found.time))

    async def subjects(self, stream: str, pattern: str) -> list[str]:
        self._check_open()
        return await self._catalogue.subjects(stream, pattern)

    async def purge(self, stream: str, pattern: str) -> int:
        self._check_open()
        return await self._catalogue.purge(stream, pattern)

    async def ensure_stream(self, spec: StreamSpec, *, update: bool = False) -> Literal["created", "unchanged", "updated"]:
        self._check_open()
        self._modes.pop(spec.name, None)
        return await self._catalogue.ensure_stream(spec, update=update)

    async def ensure_consumer(self, spec: ConsumerSpec) -> Literal["created", "unchanged", "updated"]:
        self._check_open()
        return await self._catalogue.ensure_consumer(spec)

    async def stream(self, name: str) -> StreamSpec | None:
        self._check_open()
        config = await self._catalogue.config(name)
        return None if config is None else stream_spec(config)

    async def server_time(self, stream: str) -> float:
        self._check_open()
        answer = await self._api.demand(f"STREAM.INFO.{stream}", None, StreamAnswer, stream)
        return parse_instant(answer.ts)

    # The connection.

    def server(self) -> ServerInfo:
        info = self._connection.info
        return ServerInfo(
            version=info.get("version", ""),
            jetstream=info.get("jetstream", False),
            api_level=self._level,
            max_payload=info.get("max_payload", 0),
            cluster=info.get("cluster"),
        )

    def on_reconnect(self, handler: Callable[[], None]) -> None:
        self._handlers.append(handler)

    @property
    def published(self) -> int:
        return self._exchange.published

    @property
    def published_bytes(self) -> int:
        return self._exchange.published_bytes

    def crash(self) -> None:
        """The process dies, as far as the server can tell: for tests. Whoever waits for an answer waits for ever."""
        self._connection.crash()

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        for consumption in list(self._consumptions):
            consumption.end()
        if self._connection.live:
            with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
                await asyncio.wait_for(self._finish(), CLOSE_PATIENCE)
        self._exchange.end()
        await self._connection.close()

    # Within.

    def _lost(self) -> None:
        self._exchange.lost()
        for consumption in list(self._consumptions):
            consumption.lost()

    def _restored(self) -> None:
        self._exchange.restored()
        self._modes.clear()
        for consumption in list(self._consumptions):
            consumption.restored()
        for handler in list(self._handlers):
            try:
                handler()
            except Exception:
                log.exception("a reconnect handler raised")

    async def _finish(self) -> None:
        await self._connection.flush()
        await self._exchange.settled()

    def _forget(self, consumption: JetStreamConsumption) -> None:
        self._consumptions.pop(consumption, None)

    async def _flush(self) -> None:
        """Wait until the server has seen what was written; while disconnected there is nothing to wait for."""
        if self._connection.live:
            with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
                await self._connection.flush()

    async def _read_mode(self, stream: str) -> _Mode:
        """A direct get is the leader's word only where the leader is the one replica."""
        answer = await self._api.demand(f"STREAM.INFO.{stream}", None, StreamAnswer, stream)
        direct = answer.config.get("num_replicas", 1) == 1 and bool(answer.config.get("allow_direct"))
        mode = self._modes[stream] = _Mode(direct, time.monotonic() + MODE_LIFETIME)
        return mode

    def _check_open(self) -> None:
        if self._closed:
            raise self._ended()

    def _ended(self) -> NotConnected:
        return NotConnected("this connection has been closed", url=self._connection.url)

    def _failed(self, error: Exception) -> "asyncio.Future[Any]":
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        future.set_exception(error)
        return future


class _JetStreamSubscription:
    def __init__(self, connection: Connection, sid: int) -> None:
        self._connection = connection
        self._sid = sid

    async def stop(self) -> None:
        self._connection.unlisten(self._sid)


def _direct(message: WireMessage, subject: str) -> Stored | None:
    """The answer to a direct get."""
    if message.status == 404:
        return None
    headers = dict(message.headers)
    sequence, stamp = int(headers["Nats-Sequence"]), headers["Nats-Time-Stamp"]
    for name in DIRECT_HEADERS:
        headers.pop(name, None)
    return _stored(subject, message.data, headers, sequence, parse_instant(stamp))


def _stored(subject: str, data: bytes, headers: Headers, sequence: int, timestamp: float) -> Stored | None:
    if headers and (headers.get("KV-Operation") in REMOVALS or "Nats-Marker-Reason" in headers):
        return None
    return Stored(subject, data, headers, sequence, timestamp)


def _version(text: str) -> tuple[int, ...]:
    core = text.lstrip("v").partition("-")[0].partition("+")[0]
    return tuple(int(part) if part.isdigit() else 0 for part in core.split("."))
