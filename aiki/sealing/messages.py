"""Deliveries, messages and answers, opened."""

from hashlib import blake2b
from typing import Protocol

from aiki.sealing.sealer import Sealer
from aiki.transport.port import Delivery, Headers, Message

__all__ = ["OpenedAnswer", "OpenedDelivery", "OpenedMessage", "answer_context"]


class Opener(Protocol):
    """Opens what stands on a subject."""

    def open(self, subject: str, data: bytes) -> bytes: ...


def answer_context(request: bytes) -> str:
    """What the answer to a request, as it was sent, is sealed for: no answer fits another request."""
    return f"answer/{blake2b(request, digest_size=16).hexdigest()}"


class OpenedDelivery:
    """See `aiki.transport.port.Delivery`. `data` raises `Tampered`."""

    __slots__ = ("_data", "_delivery", "_opener", "ack", "in_progress", "nak", "term")

    def __init__(self, delivery: Delivery, opener: Opener) -> None:
        self._delivery = delivery
        self._opener = opener
        self._data: bytes | None = None
        self.ack = delivery.ack
        self.nak = delivery.nak
        self.term = delivery.term
        self.in_progress = delivery.in_progress

    @property
    def subject(self) -> str:
        return self._delivery.subject

    @property
    def data(self) -> bytes:
        if self._data is None:
            self._data = self._opener.open(self._delivery.subject, self._delivery.data)
        return self._data

    @property
    def headers(self) -> Headers:
        return self._delivery.headers

    @property
    def sequence(self) -> int:
        return self._delivery.sequence

    @property
    def attempt(self) -> int:
        return self._delivery.attempt

    @property
    def timestamp(self) -> float:
        return self._delivery.timestamp

    @property
    def settled(self) -> bool:
        return self._delivery.settled


class OpenedMessage:
    """See `aiki.transport.port.Message`: one that has come, and whose answer is sealed for it."""

    __slots__ = ("_message", "_sealer", "data")

    def __init__(self, message: Message, data: bytes, sealer: Sealer) -> None:
        self._message = message
        self._sealer = sealer
        self.data = data

    @property
    def subject(self) -> str:
        return self._message.subject

    @property
    def headers(self) -> Headers:
        return self._message.headers

    def respond(self, data: bytes, headers: Headers | None = None) -> None:
        self._message.respond(self._sealer.seal(data, answer_context(self._message.data)), headers)


class OpenedAnswer:
    """See `aiki.transport.port.Message`: the answer to a request. Raises `Tampered` when it is none to that request."""

    __slots__ = ("_message", "data")

    def __init__(self, message: Message, sealer: Sealer, context: str) -> None:
        self._message = message
        self.data = sealer.open_if_known(message.data, context)

    @property
    def subject(self) -> str:
        return self._message.subject

    @property
    def headers(self) -> Headers:
        return self._message.headers

    def respond(self, data: bytes, headers: Headers | None = None) -> None:
        self._message.respond(data, headers)
