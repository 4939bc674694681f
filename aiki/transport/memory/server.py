"""The server in memory: streams, consumers and core subscriptions, shared by any number of connections."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from aiki.clock import Clock
from aiki.transport.memory.consumer import MemoryConsumer
from aiki.transport.memory.faults import Dice, Faults
from aiki.transport.memory.message import MemorySubscription, ReplyTo
from aiki.transport.memory.stream import MemoryStream
from aiki.transport.memory.subjects import SubjectTree, overlap
from aiki.transport.port import Ack, ConsumerInfo, ConsumerSpec, Headers, StreamSpec
from aiki.types.errors import StreamMissing, TopologyMismatch, TransportError

if TYPE_CHECKING:
    from aiki.transport.memory.transport import MemoryTransport

__all__ = ["Alarm", "MemoryServer"]


class Alarm:
    """A call at an instant of the server's clock: never early."""

    __slots__ = ("_args", "_call", "_clock", "_handle", "_loop", "instant")

    def __init__(
        self, clock: Clock, loop: asyncio.AbstractEventLoop, instant: float, call: Callable[..., None], args: tuple[Any, ...]
    ) -> None:
        self.instant = instant
        self._clock = clock
        self._loop = loop
        self._call = call
        self._args = args
        self._handle = loop.call_later(max(instant - clock.now(), 0.0), self._ring)

    def cancel(self) -> None:
        """Do not call any more."""
        self._handle.cancel()

    def _ring(self) -> None:
        early = self.instant - self._clock.now()
        if early > 0:
            self._handle = self._loop.call_later(max(early, 1e-6), self._ring)  # less may vanish when it is added to the loop's time
        else:
            self._call(*self._args)


class MemoryServer:
    """One simulated NATS with JetStream, on the running loop. Give it the loop's own clock, so that time-outs and instants agree.

    `faults` may be replaced at any time (None: none); `seed` decides where they strike. Nothing here is random otherwise.
    """

    def __init__(self, clock: Clock, *, faults: Faults | None = None, seed: int = 0, max_payload: int = 1 << 20) -> None:
        self.clock = clock
        self.faults = faults
        self.dice = Dice(seed)
        self.max_payload = max_payload
        self.streams: dict[str, MemoryStream] = {}
        self._by_subject: SubjectTree[MemoryStream] = SubjectTree()
        self._subscriptions: SubjectTree[MemorySubscription] = SubjectTree()

    def connect(self, name: str = "aiki", *, timeout: float = 5.0) -> "MemoryTransport":
        """A new connection; `timeout` is its default for writes."""
        from aiki.transport.memory.transport import MemoryTransport

        return MemoryTransport(self, name, timeout)

    # For the parts of the server.

    def now(self) -> float:
        """The instant now."""
        return self.clock.now()

    def alarm(self, instant: float, call: Callable[..., None], *args: Any) -> Alarm:
        """Make `call(*args)` at `instant`."""
        return Alarm(self.clock, asyncio.get_running_loop(), instant, call, args)

    def scatter(self, subject: str, data: bytes, headers: Headers, reply: ReplyTo | None = None) -> int:
        """Send a core message to the subscribers on `subject`; answers how many there are."""
        listeners = _one_per_group(self._subscriptions.find(subject))
        for one in listeners:
            one.transport.deliver(one.receive, subject, data, headers, reply)
        return len(listeners)

    def emit(self, subject: str, data: bytes, headers: Headers, reply: ReplyTo | None = None) -> int:
        """A publish without expectations: subscribers get it, streams that listen store it. Answers how many took it."""
        taken = 0
        for stream in self._by_subject.find(subject):
            taken += 1
            try:
                ack = stream.store(subject, data, headers)
                text = f'{{"stream":"{stream.spec.name}","seq":{ack.sequence}}}'
            except TransportError as error:
                text = f'{{"error":{{"code":400,"err_code":{error.fields.get("err_code", 10071)}}}}}'
            if reply is not None:
                reply.transport.receive_answer(reply.number, text.encode(), {})
        return taken + self.scatter(subject, data, headers, reply)

    # What connections ask for.

    def store(self, subject: str, data: bytes, headers: Headers) -> Ack:
        """A publish that wants an acknowledgement."""
        streams = self._by_subject.find(subject)
        if not streams:
            self.scatter(subject, data, headers)
            raise StreamMissing(f"no stream stores {subject}: run `aiki init`", stream=None, subject=subject)
        ack = streams[0].store(subject, data, headers)
        self.scatter(subject, data, headers)
        return ack

    def listen(self, subscription: MemorySubscription) -> None:
        self._subscriptions.insert(subscription.pattern, subscription)

    def unlisten(self, subscription: MemorySubscription) -> None:
        self._subscriptions.remove(subscription.pattern, subscription)

    def stream(self, name: str) -> MemoryStream:
        """The stream, or `StreamMissing`."""
        found = self.streams.get(name)
        if found is None:
            raise StreamMissing(f"the stream {name} does not exist: run `aiki init`", stream=name)
        return found

    def consumer(self, stream: str, durable: str) -> MemoryConsumer:
        """The consumer, or `StreamMissing`."""
        found = self.stream(stream).consumers.get(durable)
        if found is None:
            raise StreamMissing(f"the stream {stream} has no consumer {durable}", stream=stream, consumer=durable)
        return found

    def consumers(self, stream: str) -> list[ConsumerInfo]:
        """Those of a stream, by name."""
        return [consumer.info() for _, consumer in sorted(self.stream(stream).consumers.items())]

    def ensure_stream(self, spec: StreamSpec, update: bool) -> Literal["created", "unchanged", "updated"]:
        # The server switches roll-ups on with schedules and with markers.
        spec = _replace(spec, allow_rollup=spec.allow_rollup or spec.allow_schedules or spec.marker_ttl is not None)
        found = self.streams.get(spec.name)
        if found is not None and (different := _differences(found.spec, spec)):
            if not update:
                raise _mismatch("stream", spec.name, different, "update it (`aiki init --update`) or choose another name")
            if "storage" in different or "retention" in different:
                raise _mismatch("stream", spec.name, different, "the server refuses the change")
        elif found is not None:
            return "unchanged"
        if spec.allow_schedules and spec.discard == "new":
            raise TransportError(f"creating stream {spec.name}: message scheduling cannot use discard new (10052)", err_code=10052)
        for other in self.streams.values():
            if other is not found and any(overlap(one, two) for one in other.spec.subjects for two in spec.subjects):
                raise TransportError(f"creating stream {spec.name}: subjects overlap with an existing stream (10065)", err_code=10065)
        stream = found or MemoryStream(self, spec)
        for pattern in stream.spec.subjects if found else ():
            self._by_subject.remove(pattern, stream)
        for pattern in spec.subjects:
            self._by_subject.insert(pattern, stream)
        self.streams[spec.name] = stream
        if found is None:
            return "created"
        stream.change(spec)
        return "updated"

    def ensure_consumer(self, spec: ConsumerSpec) -> Literal["created", "unchanged", "updated"]:
        stream = self.stream(spec.stream)
        found = stream.consumers.get(spec.durable)
        if found is not None and found.spec == spec:
            return "unchanged"
        if stream.spec.retention == "workqueue":
            for other in stream.consumers.values():
                if other is not found and overlap(other.spec.filter, spec.filter):
                    reason = "the server refuses it: filtered consumer not unique on workqueue stream"
                    raise _mismatch("consumer", f"{spec.stream}/{spec.durable}", _differences(found.spec, spec) if found else {}, reason)
        if found is None:
            made = stream.consumers[spec.durable] = MemoryConsumer(self, stream, spec)
            stream.interest.insert(spec.filter, made)
            return "created"
        stream.interest.remove(found.spec.filter, found)
        stream.interest.insert(spec.filter, found)
        found.change(spec)
        return "updated"


def _replace(spec: StreamSpec, *, allow_rollup: bool) -> StreamSpec:
    return msgspec.structs.replace(spec, allow_rollup=allow_rollup)


def _differences(found: StreamSpec | ConsumerSpec, wanted: StreamSpec | ConsumerSpec) -> dict[str, tuple[Any, Any]]:
    return {
        name: (getattr(found, name), getattr(wanted, name))
        for name in found.__struct_fields__
        if getattr(found, name) != getattr(wanted, name)
    }


def _mismatch(kind: str, name: str, different: dict[str, tuple[Any, Any]], advice: str) -> TopologyMismatch:
    settings = ", ".join(f"{setting} is {found!r}, not {wanted!r}" for setting, (found, wanted) in different.items())
    return TopologyMismatch(f"{kind} {name} has other settings ({settings}): {advice}", name=name, differences=different)


def _one_per_group(listeners: list[MemorySubscription]) -> list[MemorySubscription]:
    """Of each group of subscribers the first."""
    groups: set[str] = set()
    chosen = []
    for one in listeners:
        if one.group and one.group in groups:
            continue
        groups.add(one.group)
        chosen.append(one)
    return chosen
