"""What actors send each other, as it stands on the wire (MessagePack; a message is an array that begins with its tag).

Fields may be added at the end with a default, never moved or removed: old messages and histories must keep their meaning.
Instants are seconds since the epoch; payloads are JSON, as bytes.
"""

from collections.abc import Sequence

import msgspec

from aiki.types.failure import ErrorInfo
from aiki.types.retry import Retry
from aiki.types.states import State

__all__ = [
    "Attempt",
    "Dispatch",
    "EndSleep",
    "Ended",
    "Mail",
    "Resume",
    "Start",
    "StepFailedOnce",
    "StepResult",
    "Wake",
    "attempts_made",
    "decode_dispatch",
    "decode_ended",
    "decode_mail",
    "encode",
    "kept_attempts",
]

KEPT_FIRST, KEPT_LAST = 3, 17
"""Failed attempts of one step that are remembered."""


class _Wire(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    pass


class Attempt(_Wire, frozen=True):
    """One failed attempt of a task body."""

    number: int
    started_at: float
    finished_at: float
    worker: str
    error: ErrorInfo


def attempts_made(failed: Sequence[Attempt]) -> int:
    """How many attempts have failed; `failed` may lack some of them."""
    return failed[-1].number if failed else 0


def kept_attempts(failed: Sequence[Attempt]) -> tuple[Attempt, ...]:
    """The attempts that are remembered: the first ones and the last ones, so that thousands still fit into a message."""
    if len(failed) <= KEPT_FIRST + KEPT_LAST:
        return tuple(failed)
    return (*failed[:KEPT_FIRST], *failed[-KEPT_LAST:])


class Start(_Wire, frozen=True, tag="start"):
    """Begin a run. Ignored when the run exists."""

    run_id: str
    workflow: str
    version: str
    input: bytes
    input_hash: bytes
    created_at: float
    key: str | None = None
    trace: dict[str, str] = {}
    reply: str = ""
    """A core subject on which whoever started the run wants to hear of its end; a courtesy, since the state has it too."""
    notify: str = ""
    """A mailbox, in the mail stream, that must be told of its end: durably, by an `Ended` message."""
    due: float | None = None
    """The instant at which it is to begin, if not at once."""


class StepResult(_Wire, frozen=True, tag="result"):
    """A step has its final outcome: `value` when `error` is None. `failed` holds the attempts that failed before, in this delivery.

    `serial` is the dispatch's, 0 for a local step: outcomes of a superseded dispatch count for nothing.
    """

    address: str
    ordinal: int
    serial: int
    value: bytes
    error: ErrorInfo | None
    started_at: float
    finished_at: float
    worker: str
    failed: tuple[Attempt, ...] = ()


class StepFailedOnce(_Wire, frozen=True, tag="failed"):
    """Attempts of a step failed and the next one is due only after `delay` seconds, too long to wait for it in a worker."""

    address: str
    ordinal: int
    serial: int
    failed: tuple[Attempt, ...]
    delay: float


class Wake(_Wire, frozen=True, tag="wake"):
    """An alarm that the run has set for itself. It comes a little before its instant `due`, so that the run is ready then."""

    serial: int
    due: float


class Resume(_Wire, frozen=True, tag="resume"):
    """Go on if there is anything to go on with: what stood behind the run's last turn is about to be acknowledged by somebody else."""

    reason: str = ""


class EndSleep(_Wire, frozen=True, tag="end-sleep"):
    """End the sleep that would end first, now. `id` names the request: one that comes twice ends one sleep."""

    id: str


class Ended(_Wire, frozen=True, tag="ended"):
    """A run has ended: `status` is its final state."""

    run_id: str
    status: State
    result: bytes | None
    error: ErrorInfo | None


Mail = Start | StepResult | StepFailedOnce | Wake | Resume | Ended | EndSleep


class Dispatch(_Wire, frozen=True, tag="task"):
    """Work for a task worker. `host` is the subject of the host that holds the run; `mailbox` the durable subject to fall back on."""

    run_id: str
    workflow: str
    address: str
    ordinal: int
    serial: int
    task: str
    payload: bytes
    attempt: int
    host: str
    mailbox: str
    retry: Retry | None = None
    timeout: float | None = None
    key: str | None = None


_encoder = msgspec.msgpack.Encoder()
_mail = msgspec.msgpack.Decoder(Mail)
_dispatch = msgspec.msgpack.Decoder(Dispatch)
_ended = msgspec.msgpack.Decoder(Ended)
encode = _encoder.encode
decode_mail = _mail.decode
decode_dispatch = _dispatch.decode
decode_ended = _ended.decode
