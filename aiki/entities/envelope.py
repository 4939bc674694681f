"""A call on its way into an actor, and how its sender learns what became of it."""

from typing import Protocol

from aiki.transport.port import Delivery, Message, Transport
from aiki.types.actor_messages import ABSENT, WORKING, Answer, Call, Path, encode

__all__ = ["DirectEnvelope", "Envelope", "MailEnvelope"]


class Envelope(Protocol):
    """A call and its sender. `paths`: who waits for it by now."""

    call: Call
    paths: tuple[Path, ...]

    @property
    def mail(self) -> bool:
        """It came by the mailbox, to this host or to one that has forwarded it, and comes again unless it is settled."""

    def answer(self, answer: Answer) -> None:
        """What it asks for is committed, or will never be; and everything owed because of it is sent."""

    def working(self, host: str) -> None:
        """It has arrived at `host` and waits its turn."""

    def refuse(self, delay: float) -> None:
        """This host does not take it; somebody should, after `delay` seconds."""


class MailEnvelope:
    """From the mailbox."""

    __slots__ = ("_transport", "call", "delivery", "paths")
    mail = True

    def __init__(self, call: Call, delivery: Delivery, transport: Transport) -> None:
        self.call = call
        self.paths = call.paths
        self.delivery = delivery
        self._transport = transport

    def answer(self, answer: Answer) -> None:
        if self.call.reply:
            self._transport.send(self.call.reply, encode(answer))
        self.delivery.ack()

    def working(self, host: str) -> None:
        self.delivery.in_progress()
        if self.call.reply:
            self._transport.send(self.call.reply, encode(Answer(self.call.id, host=host, working=True)))

    def refuse(self, delay: float) -> None:
        self.delivery.nak(delay)


class DirectEnvelope:
    """By request: from who asks, or from a host that holds the durable message."""

    __slots__ = ("_request", "call", "paths")

    def __init__(self, call: Call, request: Message) -> None:
        self.call = call
        self.paths = call.paths
        self._request = request

    @property
    def mail(self) -> bool:
        return self.call.forwarded

    def answer(self, answer: Answer) -> None:
        self._request.respond(encode(answer))

    def working(self, host: str) -> None:
        self._request.respond(WORKING + b" " + host.encode())

    def refuse(self, delay: float) -> None:
        self._request.respond(ABSENT)
