"""JetStream's API: requests and answers as JSON. Fields that are not listed are ignored."""

import asyncio
from typing import Any, TypeVar

import msgspec

from aiki.transport.exchange import ApiError, Exchange, api_error
from aiki.types.errors import JetStreamDisabled, NoResponders, RequestTimeout, StreamMissing, TransportError

__all__ = ["AccountAnswer", "Api", "ConsumerAnswer", "ConsumersAnswer", "MessageAnswer", "Problem", "PurgeAnswer", "StreamAnswer"]

NO_STREAM = 10059
NO_CONSUMER = 10014
NO_MESSAGE = 10037
JETSTREAM_OFF = (10039, 10076)
PAUSE = 0.1


class Problem(msgspec.Struct):
    """Any answer: `error` is there when the request failed."""

    error: ApiError | None = None


class _Level(msgspec.Struct):
    level: int = 0


class AccountAnswer(Problem):
    """The answer to `INFO`."""

    api: _Level = msgspec.field(default_factory=_Level)


class _StreamState(msgspec.Struct):
    subjects: dict[str, int] = {}


class StreamAnswer(Problem):
    """The answer to `STREAM.INFO`, `CREATE` and `UPDATE`."""

    config: dict[str, Any] = {}
    state: _StreamState = msgspec.field(default_factory=_StreamState)
    total: int = 0
    ts: str = ""
    """The server's time."""


class ConsumerAnswer(Problem):
    """The answer to `CONSUMER.INFO` and `CREATE`."""

    config: dict[str, Any] = {}
    num_pending: int = 0
    num_ack_pending: int = 0
    num_waiting: int = 0
    paused: bool = False


class ConsumersAnswer(Problem):
    """The answer to `CONSUMER.LIST`."""

    total: int = 0
    consumers: list[ConsumerAnswer] = []


class StoredMessage(msgspec.Struct):
    subject: str
    seq: int
    time: str
    data: bytes = b""  # msgspec reads base64
    hdrs: bytes = b""


class MessageAnswer(Problem):
    """The answer to `STREAM.MSG.GET`."""

    message: StoredMessage | None = None


class PurgeAnswer(Problem):
    """The answer to `STREAM.PURGE`."""

    purged: int = 0


Answer = TypeVar("Answer", bound=Problem)


class Api:
    """Calls to JetStream's API. A call whose connection drops is made again until its time-out: all calls made here may be repeated."""

    def __init__(self, exchange: Exchange, domain: str | None, timeout: float) -> None:
        self.prefix = f"$JS.{domain}.API" if domain else "$JS.API"
        self._exchange = exchange
        self._timeout = timeout

    async def call(self, subject: str, body: object, kind: type[Answer]) -> Answer:
        """Ask; the answer may hold an `error`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout
        data = b"" if body is None else msgspec.json.encode(body)
        while True:
            left = deadline - loop.time()
            try:
                message = await self._exchange.ask(f"{self.prefix}.{subject}", "", data, max(left, 0.01))
            except NoResponders as silence:
                raise JetStreamDisabled("JetStream does not answer: start the NATS server with `-js`") from silence
            except RequestTimeout:
                if deadline - loop.time() < 0.05:
                    raise
                continue
            answer = msgspec.json.decode(message.data, type=kind)
            error = answer.error
            if error is None or error.code != 503 or error.err_code in JETSTREAM_OFF or deadline - loop.time() < PAUSE:
                return answer
            # No leader at the moment: an election takes seconds.
            await asyncio.sleep(PAUSE)

    async def demand(self, subject: str, body: object, kind: type[Answer], stream: str) -> Answer:
        """Ask; an `error` is raised."""
        answer = await self.call(subject, body, kind)
        if answer.error is not None:
            raise self.failure(answer.error, subject, stream)
        return answer

    def failure(self, error: ApiError, subject: str, stream: str) -> TransportError:
        """An API error as an exception."""
        if error.err_code == NO_STREAM:
            return StreamMissing(f"the stream {stream} does not exist: run `aiki init`", stream=stream)
        if error.err_code in JETSTREAM_OFF:
            return JetStreamDisabled(f"JetStream is off for this account: {error.description}")
        return api_error(error, subject)
