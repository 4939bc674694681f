"""Deliveries of a JetStream consumer, decoded lazily: the facts about them are tokens of the reply subject."""

from collections.abc import Callable

from aiki.transport.headers import parse_headers
from aiki.transport.port import Headers

__all__ = ["JetStreamDelivery", "ack_facts"]


class JetStreamDelivery:
    """A message to settle (see `aiki.transport.port.Delivery`).

    `send` takes the protocol bytes of an ack, `freed` is called when settled.
    """

    __slots__ = ("_block", "_freed", "_reply", "_send", "_subject", "data", "settled")

    def __init__(
        self, subject: bytes, reply: bytes, block: bytes, data: bytes, send: Callable[[bytes], None], freed: Callable[[], None]
    ) -> None:
        self._subject = subject
        self._reply = reply
        self._block = block
        self._send = send
        self._freed = freed
        self.data = data
        self.settled = False

    @property
    def subject(self) -> str:
        return self._subject.decode()

    @property
    def headers(self) -> Headers:
        return parse_headers(self._block)

    @property
    def sequence(self) -> int:
        return ack_facts(self._reply)[1]

    @property
    def attempt(self) -> int:
        return ack_facts(self._reply)[0]

    @property
    def timestamp(self) -> float:
        return ack_facts(self._reply)[2]

    def ack(self) -> None:
        if not self.settled:
            self.settled = True
            self._send(b"PUB %b 4\r\n+ACK\r\n" % self._reply)
            self._freed()

    def nak(self, delay: float = 0.0) -> None:
        self._settle(b'-NAK {"delay": %d}' % round(delay * 1e9) if delay > 0 else b"-NAK")

    def term(self, reason: str = "") -> None:
        self._settle(f"+TERM {reason}".encode() if reason else b"+TERM")

    def in_progress(self) -> None:
        if not self.settled:
            self._send(b"PUB %b 4\r\n+WPI\r\n" % self._reply)

    def _settle(self, verdict: bytes) -> None:
        if not self.settled:
            self.settled = True
            self._send(b"PUB %b %d\r\n%b\r\n" % (self._reply, len(verdict), verdict))
            self._freed()

    def __repr__(self) -> str:
        return f"<delivery {self.attempt} of {self.subject} at {self.sequence}{', settled' if self.settled else ''}>"


def ack_facts(reply: bytes) -> tuple[int, int, float]:
    """(attempt, stream sequence, seconds since the epoch) of a delivery's reply subject.

    `$JS.ACK.<stream>.<consumer>.<attempt>.<sequence>.<consumer sequence>.<nanoseconds>.<pending>` (9 tokens), or with
    `<domain>.<account hash>` before the stream (11, and 12 with a random last token): ADR-15 of nats-architecture-and-design.
    """
    tokens = reply.split(b".")
    first = 4 if len(tokens) < 11 else 6
    return int(tokens[first]), int(tokens[first + 1]), int(tokens[first + 3]) / 1e9
