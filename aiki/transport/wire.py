"""The socket under a NATS connection: message frames go straight to their receivers, everything else to nats-py.

nats-py reads through a `StreamReader`, a regular-expression parser, a queue and a task per subscription. Here the protocol's
`data_received` cuts the frames and calls the receiver; INFO, PING, PONG, +OK and -ERR are handed to nats-py as if nothing else had come.
"""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from typing import cast
from urllib.parse import ParseResult

from nats.aio.transport import Transport as NatsTransport

__all__ = ["Receiver", "Wire"]

Receiver = Callable[[bytes, bytes, bytes, bytes], None]
"""Called with (subject, reply, header block, payload); absent parts are empty."""

HIGH_WATER = 1 << 20
CLOSE_PATIENCE = 1.0


class Wire(NatsTransport, asyncio.Protocol):
    """One TCP or TLS connection. `receivers` maps subscription ids to receivers; `on_lost` and `on_writable` are called on those events."""

    def __init__(self, receivers: dict[bytes, Receiver], failed: Callable[[Exception], None]) -> None:
        self.paused = False
        self.on_lost: Callable[[], None] | None = None
        self.on_writable: Callable[[], None] | None = None
        self._receivers = receivers
        self._failed = failed
        self._transport: asyncio.Transport | None = None
        self._ended = False
        self._end = asyncio.Event()
        self._control = bytearray()
        self._reader: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._parts: list[bytes] = []
        self._have = 0
        self._need = 0

    # What nats-py calls.

    async def connect(self, uri: ParseResult, buffer_size: int, connect_timeout: float) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.wait_for(loop.create_connection(lambda: self, uri.hostname or "", uri.port or 4222), connect_timeout)

    async def connect_tls(self, uri: str | ParseResult, ssl_context: ssl.SSLContext, buffer_size: int, connect_timeout: float) -> None:
        assert self._transport is not None, "connect comes first"
        host = uri if isinstance(uri, str) else uri.hostname
        upgrade = asyncio.get_running_loop().start_tls(self._transport, self, ssl_context, server_hostname=host)
        transport = await asyncio.wait_for(upgrade, connect_timeout)
        if transport is None:
            raise ConnectionError("the connection was closed during the TLS handshake")
        self._transport = transport

    def write(self, payload: bytes) -> None:
        if self._transport is not None and not self._ended:
            self._transport.write(payload)

    def writelines(self, payload: Sequence[bytes]) -> None:
        self.write(b"".join(payload))

    async def read(self, buffer_size: int) -> bytes:
        while not self._control and not self._ended:
            await self._more()
        control = bytes(self._control)
        self._control.clear()
        return control

    async def readline(self) -> bytes:
        while (end := self._control.find(b"\n")) < 0 and not self._ended:
            await self._more()
        line = bytes(self._control[: end + 1])
        del self._control[: end + 1]
        return line

    async def drain(self) -> None:
        while self.paused and not self._ended:
            if self._writable is None or self._writable.done():
                self._writable = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._writable)

    async def wait_closed(self) -> None:
        if self._transport is None:
            return
        try:
            await asyncio.wait_for(self._end.wait(), CLOSE_PATIENCE)
        except TimeoutError:
            self._transport.abort()

    def close(self) -> None:
        if self._transport is None:
            return
        # A dead peer never takes what is still buffered; a polite close would wait for it for ever.
        if self._transport.get_write_buffer_size() > 0:
            self._transport.abort()
        else:
            self._transport.close()

    def at_eof(self) -> bool:
        return self._ended and not self._control

    def __bool__(self) -> bool:
        return True

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not asyncio.Transport's children, but have its methods.
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=HIGH_WATER)

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        self._end.set()
        self._wake()
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        if self.on_lost is not None:
            self.on_lost()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        if self.on_writable is not None:
            self.on_writable()

    def data_received(self, data: bytes) -> None:
        if self._need:
            self._parts.append(data)
            self._have += len(data)
            if self._have < self._need:
                return
            data = b"".join(self._parts)
            self._parts.clear()
            self._need = 0
        position = self._cut(data)
        rest = len(data) - position
        if rest:
            self._parts.append(data[position:])
            self._have = rest
            self._need = max(self._need, rest + 1)

    def _cut(self, data: bytes) -> int:
        """Deliver every whole frame in `data`; answers where the first incomplete one begins, whose size, if known, is then in `_need`."""
        position, end = 0, len(data)
        find, receivers = data.find, self._receivers
        while position < end:
            line = find(b"\r\n", position)
            if line < 0:
                break
            kind = data[position]
            if kind == 77:  # MSG <subject> <sid> [reply] <size>
                words = data[position + 4 : line].split()
                body = line + 2
                stop = body + int(words[-1])
                if stop + 2 > end:
                    self._need = stop + 2 - position
                    break
                header = b""
                reply = words[2] if len(words) == 4 else b""
            elif kind == 72:  # HMSG <subject> <sid> [reply] <header size> <size>
                words = data[position + 5 : line].split()
                body = line + 2
                stop = body + int(words[-1])
                if stop + 2 > end:
                    self._need = stop + 2 - position
                    break
                split = body + int(words[-2])
                header = data[body:split]
                body = split
                reply = words[2] if len(words) == 5 else b""
            else:
                self._control += data[position : line + 2]
                position = line + 2
                self._wake()
                continue
            position = stop + 2
            receiver = receivers.get(words[1])
            if receiver is not None:
                try:
                    receiver(words[0], reply, header, data[body:stop])
                except Exception as error:
                    self._failed(error)
        return position

    async def _more(self) -> None:
        self._reader = asyncio.get_running_loop().create_future()
        await self._reader

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
