"""A stream in memory: order, history, compare-and-set, deduplication, expiry and schedules as JetStream 2.15 has them."""

from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aiki.transport.memory.subjects import SubjectTree, matches, transform
from aiki.transport.port import Ack, Headers, Stored, StreamSpec
from aiki.types.errors import Conflict, TransportError

if TYPE_CHECKING:
    from aiki.transport.memory.consumer import MemoryConsumer
    from aiki.transport.memory.server import Alarm, MemoryServer

__all__ = ["MemoryStream", "Record"]

SCHEDULE_HEADERS = ("Nats-Schedule", "Nats-Schedule-Target", "Nats-Schedule-TTL", "Nats-Schedule-Source", "Nats-Schedule-Time-Zone")
ONCE_HEADERS = ("Nats-Rollup", "Nats-Msg-Id", "Nats-TTL", "Nats-Expected-Last-Subject-Sequence")


class Record:
    """A stored message; `alarm` is its expiry or, for a schedule, its firing."""

    __slots__ = ("alarm", "data", "headers", "sequence", "subject", "timestamp")

    def __init__(self, subject: str, data: bytes, headers: Headers, sequence: int, timestamp: float) -> None:
        self.subject = subject
        self.data = data
        self.headers = headers
        self.sequence = sequence
        self.timestamp = timestamp
        self.alarm: Alarm | None = None


class MemoryStream:
    """The messages of one stream. `server` gives time, alarms and the way to core subscribers."""

    def __init__(self, server: "MemoryServer", spec: StreamSpec) -> None:
        self.spec = spec
        self.consumers: dict[str, MemoryConsumer] = {}
        self.interest: SubjectTree[MemoryConsumer] = SubjectTree()
        self.records: dict[int, Record] = {}
        self._server = server
        self._last = 0
        self._by_subject: dict[str, dict[int, None]] = {}
        self._ids: dict[str, int] = {}
        self._id_times: deque[tuple[float, str]] = deque()

    def listens(self, subject: str) -> bool:
        """Whether messages on `subject` are stored here."""
        return any(matches(pattern, subject) for pattern in self.spec.subjects)

    def store(self, subject: str, data: bytes, headers: Headers) -> Ack:
        """Store a message, or raise what JetStream would answer."""
        now = self._server.now()
        message_id = schedule = None
        lifetime = 0.0
        held = self._by_subject.get(subject)
        if headers:
            expect = headers.get("Nats-Expected-Last-Subject-Sequence")
            # The server looks at the sequence first: a repeated write with an old one is a conflict, not a duplicate.
            if expect is not None and int(expect) != (last := next(reversed(held)) if held else 0):
                raise Conflict(f"another write to {subject} came first (wrong last sequence: {last})", subject=subject)
            message_id = headers.get("Nats-Msg-Id")
            if message_id is not None:
                self._forget_ids(now)
                if message_id in self._ids:
                    return Ack(self._ids[message_id], True)
            if "Nats-TTL" in headers:
                lifetime = self._lifetime(subject, headers["Nats-TTL"])
            if "Nats-Schedule" in headers:
                schedule = self._schedule(subject, headers)
                headers = {**headers, "Nats-Rollup": "sub"}
            if "Nats-Rollup" in headers:
                self._roll_up(subject, headers["Nats-Rollup"], schedule is not None)
        record = self._append(subject, data, headers, now)
        if message_id is not None:
            self._ids[message_id] = record.sequence
            self._id_times.append((now, message_id))
        if schedule is not None:
            record.alarm = self._server.alarm(schedule, self._fire, record)
        elif lifetime:
            record.alarm = self._server.alarm(now + lifetime, self._expire, record)
        return Ack(record.sequence)

    def last(self, subject: str) -> Stored | None:
        """The newest message on `subject`; none when it is a marker."""
        held = self._by_subject.get(subject)
        if not held:
            return None
        return _stored(self.records[next(reversed(held))])

    def next(self, subject: str, sequence: int) -> Stored | None:
        """The oldest message on `subject` whose sequence is at least that."""
        found = next((number for number in self._by_subject.get(subject, ()) if number >= sequence), None)
        return None if found is None else _stored(self.records[found])

    def subjects(self, pattern: str) -> list[str]:
        """The subjects that match and hold a message, sorted."""
        return sorted(subject for subject in self._by_subject if matches(pattern, subject))

    def purge(self, pattern: str) -> int:
        """Remove all messages on matching subjects; answers how many."""
        doomed = [sequence for subject in self.subjects(pattern) for sequence in self._by_subject[subject]]
        for sequence in doomed:
            self.remove(sequence)
        return len(doomed)

    def remove(self, sequence: int) -> None:
        """Remove one message, if it is still there."""
        record = self.records.pop(sequence, None)
        if record is None:
            return
        if record.alarm is not None:
            record.alarm.cancel()
        held = self._by_subject[record.subject]
        del held[sequence]
        if not held:
            del self._by_subject[record.subject]

    def change(self, spec: StreamSpec) -> None:
        """Take on other settings."""
        self.spec = spec
        if spec.history is not None:
            for held in list(self._by_subject.values()):
                for sequence in list(held)[: -spec.history]:
                    self.remove(sequence)

    def _append(self, subject: str, data: bytes, headers: Headers, now: float) -> Record:
        held = self._by_subject.get(subject)
        previous = next(reversed(held)) if held else 0
        self._last += 1
        record = Record(subject, data, headers, self._last, now)
        self.records[self._last] = record
        if held is None:
            held = self._by_subject[subject] = {}
        held[self._last] = None
        if self.spec.history is not None and len(held) > self.spec.history:
            self.remove(next(iter(held)))
        if self.spec.republish is not None:
            self._republish(record, previous)
        for consumer in self.interest.find(subject):
            consumer.offer(record.sequence)
        return record

    def _lifetime(self, subject: str, text: str) -> float:
        if not self.spec.allow_ttl:
            raise TransportError(f"{subject}: per-message TTL is disabled (10166)", subject=subject, err_code=10166)
        seconds = _duration(text)
        if seconds < 1:
            raise TransportError(f"{subject}: invalid per-message TTL (10165)", subject=subject, err_code=10165)
        return seconds

    def _schedule(self, subject: str, headers: Headers) -> float:
        if not self.spec.allow_schedules:
            raise TransportError(f"{subject}: message schedules is disabled (10188)", subject=subject, err_code=10188)
        target = headers.get("Nats-Schedule-Target", "")
        if not target or target == subject or "*" in target or ">" in target or not self.listens(target):
            raise TransportError(f"{subject}: message schedules target is invalid (10190)", subject=subject, err_code=10190)
        kind, _, instant = headers["Nats-Schedule"].partition(" ")
        if kind != "@at":
            raise TransportError(
                f"{subject}: the in-memory twin knows schedules of the form `@at` only (10189)", subject=subject, err_code=10189
            )
        return datetime.fromisoformat(instant).astimezone(UTC).timestamp()

    def _roll_up(self, subject: str, what: str, implied: bool) -> None:
        if not (implied or self.spec.allow_rollup or self.spec.allow_schedules or self.spec.marker_ttl is not None):
            raise TransportError(f"{subject}: rollup not permitted (10111)", subject=subject, err_code=10111)
        for sequence in list(self._by_subject.get(subject, ()) if what == "sub" else self.records):
            self.remove(sequence)

    def _forget_ids(self, now: float) -> None:
        times, edge = self._id_times, now - self.spec.dedupe_window
        while times and times[0][0] <= edge:
            self._ids.pop(times.popleft()[1], None)

    def _fire(self, record: Record) -> None:
        self.remove(record.sequence)
        headers = {name: value for name, value in record.headers.items() if name not in SCHEDULE_HEADERS and name not in ONCE_HEADERS}
        headers |= {"Nats-Scheduler": record.subject, "Nats-Schedule-Next": "purge"}
        self._append(record.headers["Nats-Schedule-Target"], record.data, headers, self._server.now())

    def _expire(self, record: Record) -> None:
        newest = next(reversed(self._by_subject[record.subject])) == record.sequence
        self.remove(record.sequence)
        if newest and self.spec.marker_ttl is not None and "Nats-Marker-Reason" not in record.headers:
            now = self._server.now()
            headers = {"Nats-Marker-Reason": "MaxAge", "Nats-TTL": f"{self.spec.marker_ttl:g}s", "Nats-Rollup": "sub"}
            marker = self._append(record.subject, b"", headers, now)
            marker.alarm = self._server.alarm(now + self.spec.marker_ttl, self._expire, marker)

    def _republish(self, record: Record, previous: int) -> None:
        assert self.spec.republish is not None
        source, destination, headers_only = self.spec.republish
        if not matches(source, record.subject):
            return
        stamp = datetime.fromtimestamp(record.timestamp, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        headers = {
            **record.headers,
            "Nats-Stream": self.spec.name,
            "Nats-Subject": record.subject,
            "Nats-Sequence": str(record.sequence),
            "Nats-Time-Stamp": stamp,
            "Nats-Last-Sequence": str(previous),
        }
        if headers_only:
            headers["Nats-Msg-Size"] = str(len(record.data))
        self._server.scatter(transform(source, destination, record.subject), b"" if headers_only else record.data, headers)


def _duration(text: str) -> float:
    for suffix, scale in (("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)):
        if text.endswith(suffix):
            return float(text[: -len(suffix)]) * scale
    return float(text)


def _stored(record: Record) -> Stored | None:
    headers = record.headers
    if headers and (headers.get("KV-Operation") in ("DEL", "PURGE") or "Nats-Marker-Reason" in headers):
        return None
    return Stored(record.subject, record.data, headers, record.sequence, record.timestamp)
