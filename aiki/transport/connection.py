"""A NATS connection with synchronous reads and writes, over nats-py's handling of handshake, authentication, TLS, pings and reconnects.

It relies on private names of nats-py 2.16 (`PRIVATE_NAMES`; a test asserts that they exist).
"""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

import nats.aio.client
import nats.errors
from nats.aio.client import Client, Server, Srv

from aiki.transport.wire import Receiver, Wire
from aiki.types.errors import NotConnected

__all__ = ["BUFFER_LIMIT", "PRIVATE_NAMES", "Connection", "strip_credentials"]

BUFFER_LIMIT = 32 << 20
"""Bytes that may wait to be written, connected or not."""

PRIVATE_NAMES = (
    "_attempt_reconnect",
    "_close",
    "_connect_to_server",
    "_current_server",
    "_flush_queue",
    "_max_payload",
    "_pending",
    "_pending_data_size",
    "_pings_outstanding",
    "_pongs",
    "_process_err",
    "_process_msg",
    "_process_op_err",
    "_process_pong",
    "_send_ping",
    "_server_info",
    "_sid",
    "_status",
    "_subs",
    "_transport",
)

log = logging.getLogger("aiki.transport")


class _Replayed:
    """What nats-py reads of a subscription when it closes, or replays subscriptions after a reconnect."""

    _max_msgs = 0
    _received = 0
    _wait_for_msgs_task = None
    _message_iterator = None
    _pending_next_msgs_calls = None

    def __init__(self, subject: str, group: str) -> None:
        self._subject = subject
        self._queue = group


class Connection(Client):
    """`live` is true while writes reach the server. `on_lost` is called as soon as it is not, `on_restored` after each reconnect."""

    def __init__(self, on_lost: Callable[[], None], on_restored: Callable[[], None]) -> None:
        super().__init__()
        self.live = False
        self.receivers: dict[bytes, Receiver] = {}
        self._on_lost = on_lost
        self._on_restored = on_restored
        self._loop = asyncio.get_running_loop()
        self._flushing = False
        self._last_error: Exception | None = None
        self._refused: asyncio.Future[None] = self._loop.create_future()

    async def open(self, urls: Sequence[str], *, name: str, timeout: float, **options: Any) -> None:
        """Connect to the first server that answers, or raise `NotConnected` within `timeout` seconds."""
        settings: dict[str, Any] = {
            "allow_reconnect": True,
            "max_reconnect_attempts": -1,
            "reconnect_time_wait": 0.1,
            "connect_timeout": 2,
            "ping_interval": 5,
            "max_outstanding_pings": 2,
            **options,
            "name": name,
            "pending_size": BUFFER_LIMIT,
            "error_cb": self._note_error,
            "reconnected_cb": self._restored,
            "reconnect_to_server_handler": self._choose,
        }
        attempt = asyncio.ensure_future(self.connect(list(urls), **settings))
        reason: object = None
        connected = False
        try:
            await asyncio.wait({attempt, self._refused}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if attempt.done():
                attempt.result()
                connected = True
                self.live = self._status == Client.CONNECTED
                return
        except (nats.errors.Error, OSError, ValueError) as error:
            reason = error
        finally:
            self._refused.cancel()
            if not connected:
                await self._abandon(attempt)
        where = ", ".join(strip_credentials(url) for url in urls)
        reason = reason or self._last_error or "no answer"
        raise NotConnected(f"NATS cannot be reached at {where}: {reason}", url=where)

    async def _abandon(self, attempt: "asyncio.Future[None]") -> None:
        while not attempt.done():
            # Once may not be enough: nats-py swallows a cancellation here and there.
            attempt.cancel()
            await asyncio.wait({attempt}, timeout=0.01)
        if self._flush_queue is not None:  # else nats-py found no fault but with the address, and has nothing to close
            await self.close()

    def write(self, *parts: bytes) -> None:
        """Queue bytes; they leave together with all that is written in this iteration of the loop."""
        self._pending += parts
        for part in parts:
            self._pending_data_size += len(part)
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush_now)

    def crash(self) -> None:
        """Go silent at once, as the connection of a process that is killed."""
        self.live = False
        self._status = Client.CLOSED
        self._pending.clear()
        if self._transport is not None:
            self._transport.close()  # type: ignore[no-untyped-call]

    def listen(self, subject: str, receiver: Receiver, group: str = "") -> int:
        """Subscribe; the subscription survives reconnects. Answers its id."""
        self._sid += 1
        sid = self._sid
        self._subs[sid] = _Replayed(subject, group)  # type: ignore[assignment]
        self.receivers[b"%d" % sid] = receiver
        if self._status == Client.CONNECTED:
            self.write(f"SUB {subject} {group} {sid}\r\n".encode())
        return sid

    def unlisten(self, sid: int, *, deaf: bool = True) -> None:
        """Unsubscribe. With `deaf=False` messages that are already on their way are still received."""
        self._subs.pop(sid, None)
        if deaf:
            self.receivers.pop(b"%d" % sid, None)
        if self._status == Client.CONNECTED:
            self.write(b"UNSUB %d\r\n" % sid)

    @property
    def info(self) -> dict[str, Any]:
        """The INFO of the server reached last."""
        return self._server_info

    @property
    def url(self) -> str:
        """The server reached last, without credentials."""
        return strip_credentials(self._current_server.uri.geturl()) if self._current_server else ""

    def _flush_now(self) -> None:
        self._flushing = False
        wire = self._transport
        if not self._pending or self._status != Client.CONNECTED:
            return
        if isinstance(wire, Wire):
            if not wire.paused:
                pending, self._pending, self._pending_data_size = self._pending, [], 0
                wire.write(b"".join(pending))
        elif self._flush_queue is not None and self._flush_queue.empty():
            self._flush_queue.put_nowait(self._loop.create_future())

    def _lose(self) -> None:
        """Writes no longer arrive: forget what is buffered, so that a write reported as lost cannot happen later."""
        self._pending = []
        self._pending_data_size = 0
        if self.live:
            self.live = False
            if not self.is_closed:
                log.warning("connection to NATS at %s lost; reconnecting", self.url)
            self._on_lost()

    async def _restored(self) -> None:
        self.live = True
        log.info("connected to NATS again, at %s", self.url)
        self._on_restored()

    async def _note_error(self, error: Exception) -> None:
        self._last_error = error
        log.debug("nats: %r", error)
        text = str(error).lower()
        if ("authorization" in text or "authentication" in text) and not self._refused.done():
            self._refused.set_result(None)

    def _receiver_failed(self, error: Exception) -> None:
        log.error("a message handler raised", exc_info=error)

    def _choose(self, servers: list[Server], _: dict[str, Any]) -> tuple[Server | None, float]:
        """The server with the fewest failures, after a pause that doubles from 50 ms to 1 s."""
        server = min(servers, key=lambda one: one.reconnects)
        pause = min(0.05 * 2 ** min(server.reconnects, 8), 1.0) * random.uniform(0.5, 1.0)
        return server, pause if server.reconnects else 0.0

    # Overridden parts of nats-py.

    async def _connect_to_server(self, s: Srv) -> None:
        if s.uri.scheme not in ("ws", "wss"):
            wire = Wire(self.receivers, self._receiver_failed)
            wire.on_writable = self._flush_now
            wire.on_lost = lambda: self._lose() if self._transport is wire else None
            self._transport = wire
        await super()._connect_to_server(s)

    async def _process_op_err(self, e: Exception) -> None:
        await super()._process_op_err(e)
        if self._status != Client.CONNECTED:
            self._lose()

    async def _attempt_reconnect(self) -> None:
        self._lose()
        while True:
            try:
                return await super()._attempt_reconnect()
            except Exception as error:
                log.warning("reconnecting to NATS failed: %r", error)
                await asyncio.sleep(0.5)

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        await super()._close(status, do_cbs)
        self._lose()

    async def _process_err(self, err_msg: str) -> None:
        if "permissions violation" in err_msg:
            log.warning("NATS refused: %s", err_msg.strip("'"))
        elif self.is_closed:
            return
        else:
            # nats-py would close the connection for ever; the server may be shutting down, or have found us slow.
            log.warning("NATS reported %s", err_msg.strip("'"))
            await self._process_op_err(nats.errors.Error(f"nats: {err_msg}"))

    async def _send_ping(self, future: "asyncio.Future[bool] | None" = None) -> None:
        # nats-py writes a PING past what is pending; its PONG would then not prove that the server has seen it.
        self._pongs.append(future or self._loop.create_future())
        self.write(b"PING\r\n")

    async def _process_pong(self) -> None:
        # nats-py ends its read loop when the flush that waited for this has been given up.
        if self._pongs:
            future = self._pongs.pop(0)
            if not future.done():
                future.set_result(True)
            self._pings_outstanding = 0

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        """Messages that came through nats-py's own parser (WebSocket)."""
        receiver = self.receivers.get(b"%d" % sid)
        if receiver is not None:
            try:
                receiver(subject, reply, headers or b"", data)
            except Exception as error:
                self._receiver_failed(error)


def strip_credentials(url: str) -> str:
    """`url` without user, password or token."""
    if "@" not in url:
        return url
    if "://" not in url:
        return url.rpartition("@")[2]
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
