"""A message on its way into an actor, and how its sender learns what became of it."""

from typing import Protocol

from aiki.transport.port import Delivery, Message
from aiki.types.messages import Mail

__all__ = ["ABSENT", "DONE", "WORKING", "Envelope", "LocalEnvelope", "MailEnvelope", "WarmEnvelope"]

DONE, WORKING, ABSENT = b"done", b"working", b"absent"
"""A host's answers on the warm path: committed and flushed; the turn goes on; not here, use the mailbox."""


class Envelope(Protocol):
    """A message and its sender, who holds something durable until it is told `done`."""

    message: Mail
    durable: bool

    def done(self) -> None:
        """The message is committed, and everything owed because of it is sent."""

    def working(self) -> None:
        """The turn goes on: the sender must keep its durable message alive."""

    def refuse(self, delay: float) -> None:
        """This host cannot take it now; somebody should, after `delay` seconds."""


class MailEnvelope:
    """From the durable mailbox."""

    __slots__ = ("delivery", "message")
    durable = True

    def __init__(self, message: Mail, delivery: Delivery) -> None:
        self.message = message
        self.delivery = delivery

    def done(self) -> None:
        self.delivery.ack()

    def working(self) -> None:
        self.delivery.in_progress()

    def refuse(self, delay: float) -> None:
        self.delivery.nak(delay)


class WarmEnvelope:
    """From another host, by request: its sender holds the durable message."""

    __slots__ = ("message", "request")
    durable = True

    def __init__(self, message: Mail, request: Message) -> None:
        self.message = message
        self.request = request

    def done(self) -> None:
        self.request.respond(DONE)

    def working(self) -> None:
        self.request.respond(WORKING)

    def refuse(self, delay: float) -> None:
        self.request.respond(ABSENT)


class LocalEnvelope:
    """From a step that ran in this host: nothing durable stands behind it but the turn's own trigger."""

    __slots__ = ("message",)
    durable = False

    def __init__(self, message: Mail) -> None:
        self.message = message

    def done(self) -> None: ...

    def working(self) -> None: ...

    def refuse(self, delay: float) -> None: ...
