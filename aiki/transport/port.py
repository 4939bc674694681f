"""What the engine needs from a messaging system, and nothing more.

Two implementations pass one conformance suite: `aiki.transport.JetStreamTransport` (nats-py) and `aiki.transport.MemoryTransport`
(simulated, with faults under a seed). Subjects, streams and durable consumers are JetStream's; times are seconds (instants: seconds since
the epoch, UTC).

Publishing answers with a future rather than a coroutine, so that writes are pipelined in the order of the calls: the bytes are queued
when the call returns.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal, NamedTuple, Protocol

import msgspec

__all__ = [
    "Ack",
    "ConsumerInfo",
    "ConsumerSpec",
    "Consumption",
    "Delivery",
    "Message",
    "ServerInfo",
    "Stored",
    "StreamSpec",
    "Subscription",
    "Transport",
]

Headers = Mapping[str, str]


class Ack(NamedTuple):
    """A stream has stored a message (or, `duplicate`, had already stored one with this message id; `sequence` is then the first one's)."""

    sequence: int
    duplicate: bool = False


class Stored(NamedTuple):
    """A message as a stream holds it. `timestamp` is the server's, in seconds since the epoch."""

    subject: str
    data: bytes
    headers: Headers
    sequence: int
    timestamp: float


class ServerInfo(NamedTuple):
    """The server that a connection has reached. `api_level` is JetStream's (0 where there is none); `max_payload` in bytes."""

    version: str
    jetstream: bool
    api_level: int
    max_payload: int
    cluster: str | None = None


class StreamSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A stream as it should be. Durations are seconds; `republish` is (source, destination, headers only)."""

    name: str
    subjects: tuple[str, ...]
    retention: Literal["limits", "workqueue"] = "limits"
    history: int | None = None
    """Messages kept per subject (None: all)."""
    discard: Literal["old", "new"] = "old"
    dedupe_window: float = 120.0
    allow_direct: bool = False
    allow_ttl: bool = False
    allow_schedules: bool = False
    allow_rollup: bool = False
    republish: tuple[str, str, bool] | None = None
    storage: Literal["file", "memory"] = "file"
    replicas: int = 1
    placement_tags: tuple[str, ...] = ()
    marker_ttl: float | None = None
    """How long the marker of an expired or deleted message is kept (None: no markers)."""


class ConsumerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A durable pull consumer as it should be. `max_ack_pending` -1 is unlimited; `max_deliver` -1 is for ever."""

    stream: str
    durable: str
    filter: str
    ack_wait: float = 3.0
    max_deliver: int = -1
    max_ack_pending: int = -1


class ConsumerInfo(NamedTuple):
    """A consumer as it is now. `paused_until` is None when it is not paused."""

    durable: str
    filter: str
    waiting: int
    unsettled: int
    paused_until: float | None = None
    cap: int | None = None
    """At most so many are delivered and unsettled at a time."""


class Message(Protocol):
    """A core message: a subscription's, or the answer to a request."""

    @property
    def subject(self) -> str: ...
    @property
    def data(self) -> bytes: ...
    @property
    def headers(self) -> Headers: ...
    def respond(self, data: bytes, headers: Headers | None = None) -> None:
        """Answer a request; without a reply subject, or on a lost connection, nothing happens."""


class Delivery(Protocol):
    """A message that a consumer handed out and that must be settled: by exactly one of `ack`, `nak`, `term`. Later calls do nothing."""

    @property
    def subject(self) -> str: ...
    @property
    def data(self) -> bytes: ...
    @property
    def headers(self) -> Headers: ...
    @property
    def sequence(self) -> int:
        """In the stream; the same for every delivery of a message."""

    @property
    def attempt(self) -> int:
        """1 for the first delivery. A hint: it may start again at 1 when a server dies."""

    @property
    def timestamp(self) -> float:
        """When the stream stored the message, by the server's clock."""

    @property
    def settled(self) -> bool: ...
    def ack(self) -> None:
        """Done: a work queue removes the message. May be lost, which means redelivery."""

    def nak(self, delay: float = 0.0) -> None:
        """Not now: deliver again after `delay` seconds."""

    def term(self, reason: str = "") -> None:
        """Never deliver again."""

    def in_progress(self) -> None:
        """Still at work: the ack deadline starts anew. Does not settle."""


class Subscription(Protocol):
    """A core subscription; it survives reconnects."""

    async def stop(self) -> None: ...


class Consumption(Protocol):
    """A standing pull from a durable consumer.

    At most `window` deliveries are unsettled at a time; it may be changed at any time (0 pauses).
    """

    window: int

    @property
    def outstanding(self) -> int:
        """Deliveries handed to the handler and not yet settled."""

    async def stop(self) -> None:
        """Stop pulling. What was delivered stays to be settled."""


class Transport(Protocol):
    """A connection. All methods raise `NotConnected` once it is closed.

    While NATS is away, writes wait for the reconnect until their time-out; a write whose answer was lost raises `OutcomeUnknown`
    and is never repeated by the transport itself (the caller knows whether that is safe).
    """

    def publish(
        self,
        subject: str,
        data: bytes,
        *,
        headers: Headers | None = None,
        message_id: str | None = None,
        expect: int | None = None,
        ttl: float | None = None,
        timeout: float | None = None,
    ) -> "asyncio.Future[Ack]":
        """Store a message in the stream that listens on `subject`.

        `message_id`: a second publish with the same id inside the stream's dedupe window stores nothing and answers `duplicate`.
        `expect`: the sequence that must be the subject's last one (0: none may exist), else `Conflict`.
        `ttl`: seconds after which the stream drops the message. Default time-out: the connection's (5 s).
        Errors, all through the future: `Conflict`, `OutcomeUnknown`, `StreamMissing`, `PayloadTooLarge`, `NotConnected`, `TransportError`.
        """

    def schedule(
        self,
        subject: str,
        at: float,
        target: str,
        data: bytes,
        *,
        headers: Headers | None = None,
        message_id: str | None = None,
        timeout: float | None = None,
    ) -> "asyncio.Future[Ack]":
        """Have the stream publish `data` on `target` (a subject of the same stream) at instant `at`: never early, at once when past.

        `subject` names the schedule: publishing it again reschedules it. Errors as for `publish`.
        """

    async def cancel_schedule(self, stream: str, subject: str) -> None:
        """Drop a schedule that has not fired; without one, nothing happens."""

    def send(self, subject: str, data: bytes, *, headers: Headers | None = None) -> None:
        """A core message: at most once, to whoever listens now. Dropped without a word while disconnected."""

    def request(
        self,
        subject: str,
        data: bytes,
        *,
        headers: Headers | None = None,
        timeout: float = 5.0,
        pending: Callable[[Message], bool] | None = None,
    ) -> "asyncio.Future[Message]":
        """Ask whoever listens on `subject`; the first answer wins.

        An answer for which `pending` is true ("still at work") does not end the request but renews its time-out.
        Errors, through the future: `NoResponders` (at once), `RequestTimeout`.
        """

    async def subscribe(self, subject: str, handler: Callable[[Message], None], *, group: str = "") -> Subscription:
        """Core subscription: `handler` is called (and must not block) for each message. Returns when the server knows of it.

        Of the subscribers of one `group` each message reaches one.
        """

    async def consume(self, stream: str, durable: str, handler: Callable[[Delivery], None], *, window: int) -> Consumption:
        """Pull from an existing durable consumer without pause, `window` deliveries at most unsettled.

        Pulls are renewed after a reconnect. `StreamMissing` when the stream or the consumer does not exist.
        """

    async def last(self, stream: str, subject: str) -> Stored | None:
        """The newest message on `subject`, as the stream's leader has it (never a stale replica's); None when there is none.

        A KV marker of deletion or expiry counts as none.
        """

    async def next(self, stream: str, subject: str, sequence: int) -> Stored | None:
        """The oldest message on `subject` whose sequence is at least that, as the stream's leader has it; None when there is none."""

    async def subjects(self, stream: str, pattern: str) -> list[str]:
        """Those subjects of `stream` that match `pattern` and hold a message, sorted."""

    async def purge(self, stream: str, pattern: str) -> int:
        """Delete all messages whose subject matches; answers how many."""

    async def ensure_stream(self, spec: StreamSpec, *, update: bool = False) -> Literal["created", "unchanged", "updated"]:
        """Create a stream. One that exists with other settings raises `TopologyMismatch`, or is changed when `update`."""

    async def ensure_consumer(self, spec: ConsumerSpec) -> Literal["created", "unchanged", "updated"]:
        """Create a durable consumer, or bring an existing one to `spec`. `StreamMissing` when its stream does not exist."""

    async def stream(self, name: str) -> StreamSpec | None:
        """A stream's present settings; None when it does not exist."""

    async def server_time(self, stream: str) -> float:
        """The instant now by the clock of the stream's leader, read at some moment between the call and its answer."""

    async def consumers(self, stream: str) -> "list[ConsumerInfo]":
        """The durable consumers of a stream, by name."""

    async def pause_consumer(self, stream: str, durable: str, until: float | None) -> None:
        """Hand out nothing before instant `until` (infinity: until further notice); None, or one that is past: go on now.

        What was handed out already can be settled meanwhile; what is not is delivered again afterwards.

        `StreamMissing` when the stream or the consumer does not exist.
        """

    async def backlog(self, stream: str, durable: str) -> tuple[int, int]:
        """A consumer's (waiting, delivered but unsettled) messages."""

    async def pullers(self, stream: str, durable: str) -> int:
        """How many demands for messages wait at a consumer: 0 when nobody has room for one, or when there is no such consumer."""

    def server(self) -> ServerInfo:
        """The server this connection has reached last."""

    def on_reconnect(self, handler: Callable[[], None]) -> None:
        """Call `handler` after each reconnect (a watcher reads its state again then)."""

    @property
    def published(self) -> int:
        """Durable writes acknowledged on this connection so far (publishes and schedules; for benchmarks and metrics)."""

    @property
    def published_bytes(self) -> int:
        """Payload bytes of those writes."""

    async def close(self) -> None:
        """Flush what was written and end the connection. Futures that are still open fail with `OutcomeUnknown`."""


Connector = Callable[[], Awaitable[Transport]]
