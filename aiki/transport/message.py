"""Core messages as they came over the wire; parts are decoded when they are asked for."""

from aiki.transport.connection import Connection
from aiki.transport.headers import format_headers, parse_headers
from aiki.transport.port import Headers

__all__ = ["WireMessage", "publication"]


class WireMessage:
    """A core message (see `aiki.transport.port.Message`)."""

    __slots__ = ("_block", "_connection", "_reply", "_subject", "data")

    def __init__(self, connection: Connection, subject: bytes, reply: bytes, block: bytes, data: bytes) -> None:
        self._connection = connection
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
        if self._reply and self._connection.live:
            if type(data) is not bytes:
                data = bytes(data)
            command, _ = publication(self._reply.decode(), "", format_headers(headers) if headers else "", len(data))
            self._connection.write(command, data, b"\r\n")

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
