"""Core messages as they came over the wire; parts are decoded when they are asked for."""

from collections.abc import Callable

from aiki.transport.headers import format_headers, parse_headers, parse_status
from aiki.transport.port import Headers

__all__ = ["WireMessage", "publication"]


class WireMessage:
    """A core message (see `aiki.transport.port.Message`). `send` takes the subject, header lines and payload of an answer."""

    __slots__ = ("_block", "_reply", "_send", "_subject", "data")

    def __init__(self, send: Callable[[str, str, bytes], None], subject: bytes, reply: bytes, block: bytes, data: bytes) -> None:
        self._send = send
        self._subject = subject
        self._reply = reply
        self._block = block
        self.data = data

    @property
    def subject(self) -> str:
        return self._subject.decode()

    @property
    def headers(self) -> Headers:
        return parse_headers(self._block)

    def respond(self, data: bytes, headers: Headers | None = None) -> None:
        if self._reply:
            self._send(self._reply.decode(), format_headers(headers) if headers else "", data)

    @property
    def status(self) -> int:
        """The status that the server answered with in place of a message; 0 for a message."""
        return parse_status(self._block)

    def __repr__(self) -> str:
        return f"<message on {self.subject}, {len(self.data)} bytes>"


def publication(subject: str, reply: str, lines: str, size: int) -> tuple[bytes, int]:
    """The bytes of a PUB or HPUB up to its payload of `size` bytes, and the size of headers and payload together.

    `lines`: header lines, each ended by CRLF, or none.
    """
    if not lines:
        return f"PUB {subject} {reply} {size}\r\n".encode(), size
    # The block is "NATS/1.0" CRLF, the lines, CRLF.
    length = 12 + (len(lines) if lines.isascii() else len(lines.encode()))
    return f"HPUB {subject} {reply} {length} {length + size}\r\nNATS/1.0\r\n{lines}\r\n".encode(), length + size
