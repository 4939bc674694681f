"""A durable pull consumer in memory: attempts, ack deadlines, delays and caps as JetStream has them."""

import heapq
import json
import math
from collections import deque
from typing import TYPE_CHECKING

from aiki.transport.memory.stream import MemoryStream, Record
from aiki.transport.memory.subjects import matches
from aiki.transport.port import ConsumerInfo, ConsumerSpec

if TYPE_CHECKING:
    from aiki.transport.memory.consumption import MemoryConsumption
    from aiki.transport.memory.server import Alarm, MemoryServer

__all__ = ["MemoryConsumer"]


class MemoryConsumer:
    """Hands the stream's messages that match its filter to those who pull, one after the other."""

    def __init__(self, server: "MemoryServer", stream: MemoryStream, spec: ConsumerSpec) -> None:
        self.spec = spec
        self.pullers: deque[MemoryConsumption] = deque()
        self._server = server
        self._stream = stream
        self._fresh: deque[int] = deque()
        self._again: list[int] = []
        self._attempts: dict[int, int] = {}
        self._unsettled: dict[int, float] = {}
        """Deadlines by sequence: of the acknowledgement, or of the delay that was asked for."""
        self._delayed: dict[int, None] = {}
        self._alarm: Alarm | None = None
        self._paused_until: float | None = None
        self._position = 0
        self._queue_all()

    def change(self, spec: ConsumerSpec) -> None:
        """Take on other settings."""
        refiltered = spec.filter != self.spec.filter
        self.spec = spec
        if refiltered:
            self._queue_all()
        self.hand_out()

    def offer(self, sequence: int) -> None:
        """A message has been stored that the filter covers."""
        self._fresh.append(sequence)
        if self.pullers:
            self.hand_out()

    def pause(self, until: float | None) -> None:
        """Hand out nothing before that instant; None: go on."""
        self._paused_until = until
        if until is None or not math.isinf(until):
            self._server.alarm(until or 0.0, self.hand_out)

    @property
    def _paused(self) -> bool:
        return self._paused_until is not None and self._server.now() < self._paused_until

    def info(self) -> ConsumerInfo:
        """As it is now."""
        cap = self.spec.max_ack_pending if self.spec.max_ack_pending > 0 else None
        return ConsumerInfo(self.spec.durable, self.spec.filter, *self.backlog(), self._paused_until if self._paused else None, cap)

    def backlog(self) -> tuple[int, int]:
        """(waiting, delivered but unsettled)."""
        records = self._stream.records
        waiting = sum(1 for sequence in self._fresh if sequence in records)
        return waiting, sum(1 for sequence in self._unsettled if sequence in records) + len(self._again)

    def hand_out(self) -> None:
        """Deliver what may be delivered now: redeliveries first, pullers in turn."""
        pullers, cap = self.pullers, self.spec.max_ack_pending
        if self._paused:
            return
        while self._again or self._fresh:
            if cap >= 0 and len(self._unsettled) + len(self._again) >= cap and not self._again:
                return
            for _ in range(len(pullers)):
                puller = pullers[0]
                pullers.rotate(-1)
                if puller.has_room():
                    break
            else:
                return
            record = self._next()
            if record is None:
                continue
            sequence = record.sequence
            attempt = self._attempts[sequence] = self._attempts.get(sequence, 0) + 1
            self._set_deadline(sequence, self.spec.ack_wait)
            puller.dispatch(record, attempt)

    def ack(self, sequence: int) -> None:
        """Settled, by whichever holder: acknowledgements do not fence."""
        self._drop(sequence)
        if self._stream.spec.retention == "workqueue":
            self._stream.remove(sequence)
        self.hand_out()

    def nak(self, sequence: int, delay: float) -> None:
        """Deliver again after `delay`."""
        if sequence in self._unsettled:
            if delay > 0:
                self._delayed[sequence] = None
                self._set_deadline(sequence, delay)
            else:
                del self._unsettled[sequence]
                self._return(sequence)
                self.hand_out()

    def term(self, sequence: int, reason: str) -> None:
        """Never again: a work queue drops the message, and an advisory tells of it."""
        record = self._stream.records.get(sequence)
        if record is None:
            return
        attempts = self._attempts.get(sequence, 1)
        self.ack(sequence)
        self._advise("MSG_TERMINATED", {"consumer_seq": sequence, "stream_seq": sequence, "deliveries": attempts, "reason": reason})

    def in_progress(self, sequence: int) -> None:
        """The ack deadline starts anew."""
        if sequence in self._unsettled and sequence not in self._delayed:
            self._set_deadline(sequence, self.spec.ack_wait)

    def _next(self) -> Record | None:
        if self._again:
            return self._stream.records.get(heapq.heappop(self._again))
        self._position = max(self._position, self._fresh[0])
        return self._stream.records.get(self._fresh.popleft())

    def _queue_all(self) -> None:
        """Queue every message that the filter covers and that has not been handed out: of a work queue all that are left count as such."""
        after = 0 if self._stream.spec.retention == "workqueue" else self._position
        self._fresh = deque(
            sequence
            for sequence, record in self._stream.records.items()
            if sequence > after and sequence not in self._attempts and matches(self.spec.filter, record.subject)
        )

    def _drop(self, sequence: int) -> None:
        self._unsettled.pop(sequence, None)
        self._delayed.pop(sequence, None)
        self._attempts.pop(sequence, None)
        if sequence in self._again:
            self._again.remove(sequence)
            heapq.heapify(self._again)

    def _return(self, sequence: int) -> None:
        """A delivery has failed: queue the message again, unless its deliveries are used up."""
        self._delayed.pop(sequence, None)
        if sequence not in self._stream.records:
            self._attempts.pop(sequence, None)
            return
        attempts = self._attempts.get(sequence, 0)
        if 0 < self.spec.max_deliver <= attempts:
            self._advise("MAX_DELIVERIES", {"stream_seq": sequence, "deliveries": attempts})
        else:
            heapq.heappush(self._again, sequence)

    def _set_deadline(self, sequence: int, seconds: float) -> None:
        deadline = self._unsettled[sequence] = self._server.now() + seconds
        if self._alarm is None or deadline < self._alarm.instant:
            if self._alarm is not None:
                self._alarm.cancel()
            self._alarm = self._server.alarm(deadline, self._due)

    def _due(self) -> None:
        self._alarm = None
        now = self._server.now()
        due = [sequence for sequence, deadline in self._unsettled.items() if deadline <= now]
        for sequence in due:
            del self._unsettled[sequence]
            self._return(sequence)
        if self._unsettled:
            self._alarm = self._server.alarm(min(self._unsettled.values()), self._due)
        if due:
            self.hand_out()

    def _advise(self, what: str, facts: dict[str, object]) -> None:
        body = {"stream": self._stream.spec.name, "consumer": self.spec.durable, **facts}
        self._server.emit(f"$JS.EVENT.ADVISORY.CONSUMER.{what}.{self._stream.spec.name}.{self.spec.durable}", json.dumps(body).encode(), {})
