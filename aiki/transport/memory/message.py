"""Core messages and their subscriptions in memory."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from aiki.transport.port import Headers, Message

if TYPE_CHECKING:
    from aiki.transport.memory.transport import MemoryTransport

__all__ = ["MemoryMessage", "MemorySubscription", "ReplyTo"]


class ReplyTo(NamedTuple):
    """Who waits for the answer to a request, and under which number."""

    transport: "MemoryTransport"
    number: int


class MemoryMessage:
    """See `aiki.transport.port.Message`."""

    __slots__ = ("_receiver", "_reply", "data", "headers", "subject")

    def __init__(self, receiver: "MemoryTransport", subject: str, data: bytes, headers: Headers, reply: ReplyTo | None) -> None:
        self._receiver = receiver
        self._reply = reply
        self.subject = subject
        self.data = data
        self.headers = headers

    def respond(self, data: bytes, headers: Headers | None = None) -> None:
        if self._reply is not None:
            self._receiver.answer(self._reply, data, headers or {})

    def __repr__(self) -> str:
        return f"<message on {self.subject}, {len(self.data)} bytes>"


class MemorySubscription:
    """See `aiki.transport.port.Subscription`."""

    def __init__(self, transport: "MemoryTransport", pattern: str, handler: Callable[[Message], None], group: str) -> None:
        self.transport = transport
        self.pattern = pattern
        self.group = group
        self._handler: Callable[[Message], None] | None = handler

    async def stop(self) -> None:
        self._handler = None
        self.transport.unsubscribe(self)

    def receive(self, subject: str, data: bytes, headers: Headers, reply: ReplyTo | None) -> None:
        """A message has arrived."""
        if self._handler is not None:
            self._handler(MemoryMessage(self.transport, subject, data, headers, reply))
