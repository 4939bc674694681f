"""A call on its way into an actor, and how its sender learns what became of it."""

import asyncio
from typing import Protocol

from msgspec.structs import replace

from aiki.actors.topology import ACK_WAIT
from aiki.transport.port import Delivery, Message, Transport
from aiki.types.actor_messages import ABSENT, WORKING, Answer, Call, Path, encode

__all__ = ["DirectEnvelope", "Envelope", "MailEnvelope", "doubt"]


class Envelope(Protocol):
    """A call and its sender. `paths`: who waits for it by now."""

    call: Call
    paths: tuple[Path, ...]

    @property
    def mail(self) -> bool:
        """It came by the mailbox, to this host or to one that has forwarded it, and comes again unless it is settled."""

    @property
    def alone(self) -> bool:
        """No other copy of it can have been settled by now: the mailbox has given it to nobody else."""

    def answer(self, answer: Answer) -> None:
        """What it asks for is committed, or will never be; and everything owed because of it is sent."""

    def working(self, host: str) -> None:
        """It has arrived at `host` and waits its turn."""

    def refuse(self, delay: float) -> None:
        """This host does not take it; somebody should, after `delay` seconds."""


class MailEnvelope:
    """From the mailbox."""

    __slots__ = ("_came_at", "_transport", "call", "delivery", "paths")
    mail = True

    def __init__(self, call: Call, delivery: Delivery, transport: Transport) -> None:
        self.call = call
        self.paths = call.paths
        self.delivery = delivery
        self._came_at = asyncio.get_running_loop().time()
        self._transport = transport

    @property
    def alone(self) -> bool:
        return self.delivery.attempt <= 1 and asyncio.get_running_loop().time() - self._came_at < ACK_WAIT

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
    alone = False  # its sender's patience may have ended long ago

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


def doubt(envelope: Envelope) -> None:
    """A copy of that call may have been applied by now, and be forgotten."""
    if not envelope.call.again:
        envelope.call = replace(envelope.call, again=True)
