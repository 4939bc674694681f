"""A standing pull in memory, and what it delivers."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from aiki.transport.memory.stream import Record
from aiki.transport.port import Delivery, Headers

if TYPE_CHECKING:
    from aiki.transport.memory.consumer import MemoryConsumer
    from aiki.transport.memory.transport import MemoryTransport

__all__ = ["MemoryConsumption", "MemoryDelivery"]

RETRY = 1.0


class MemoryDelivery:
    """See `aiki.transport.port.Delivery`."""

    __slots__ = ("_consumption", "_record", "attempt", "settled")

    def __init__(self, consumption: "MemoryConsumption", record: Record, attempt: int) -> None:
        self._consumption = consumption
        self._record = record
        self.attempt = attempt
        self.settled = False

    @property
    def subject(self) -> str:
        return self._record.subject

    @property
    def data(self) -> bytes:
        return self._record.data

    @property
    def headers(self) -> Headers:
        return self._record.headers

    @property
    def sequence(self) -> int:
        return self._record.sequence

    @property
    def timestamp(self) -> float:
        return self._record.timestamp

    def ack(self) -> None:
        if not self.settled:
            self.settled = True
            self._consumption.settle(self._consumption.consumer.ack, self._record.sequence)

    def nak(self, delay: float = 0.0) -> None:
        if not self.settled:
            self.settled = True
            self._consumption.settle(self._consumption.consumer.nak, self._record.sequence, delay)

    def term(self, reason: str = "") -> None:
        if not self.settled:
            self.settled = True
            self._consumption.settle(self._consumption.consumer.term, self._record.sequence, reason)

    def in_progress(self) -> None:
        if not self.settled:
            self._consumption.transport.tell(self._consumption.consumer.in_progress, self._record.sequence)

    def __repr__(self) -> str:
        return f"<delivery {self.attempt} of {self.subject} at {self.sequence}{', settled' if self.settled else ''}>"


class MemoryConsumption:
    """See `aiki.transport.port.Consumption`. The server asks `has_room` and calls `dispatch`."""

    def __init__(self, transport: "MemoryTransport", consumer: "MemoryConsumer", handler: Callable[[Delivery], None], window: int) -> None:
        self.transport = transport
        self.consumer = consumer
        self._handler = handler
        self._window = window
        self._outstanding = 0
        self._coming = 0
        self._stopped = False

    @property
    def window(self) -> int:
        return self._window

    @window.setter
    def window(self, size: int) -> None:
        self._window = size
        self.transport.ask_for_more(self)

    @property
    def outstanding(self) -> int:
        return self._outstanding

    async def stop(self) -> None:
        self._stopped = True
        self._window = 0
        await self.transport.end_consumption(self)

    def has_room(self) -> bool:
        """Whether one more may be sent here."""
        return self._window > self._outstanding + self._coming

    def dispatch(self, record: Record, attempt: int) -> None:
        """Send a message here."""
        if self.transport.deliver(self._arrive, record, attempt):
            self._coming += 1

    def cut(self) -> None:
        """The connection dropped: nothing is coming any more."""
        self._coming = 0

    def settle(self, verdict: Callable[..., None], *args: object) -> None:
        """Tell the consumer, and make room for the next."""
        self._outstanding -= 1
        if not self.transport.tell(verdict, *args):
            self.transport.ask_for_more(self)

    def _arrive(self, record: Record, attempt: int) -> None:
        self._coming = max(self._coming - 1, 0)
        delivery = MemoryDelivery(self, record, attempt)
        self._outstanding += 1
        if self._stopped or self._outstanding > self._window:
            delivery.nak()
            return
        try:
            self._handler(delivery)
        except Exception:
            self.transport.handler_failed()
            delivery.nak(RETRY)
