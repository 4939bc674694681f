"""What actors send each other, as it stands on the wire (MessagePack; a message is an array that begins with its tag).

Fields may be added at the end with a default, never moved or removed: old messages and histories must keep their meaning.
Instants are seconds since the epoch; payloads are JSON, as bytes.
"""

from collections.abc import Sequence

import msgspec

from aiki.types.cache import CacheUse
from aiki.types.errors import IdempotencyConflict
from aiki.types.failure import ErrorInfo
from aiki.types.retry import Retry
from aiki.types.sealed import checked, public_part
from aiki.types.states import State

__all__ = [
    "NOT_BEGUN",
    "Again",
    "Answer",
    "AnyWord",
    "Attempt",
    "CacheMissed",
    "Cancel",
    "CancelStep",
    "Dispatch",
    "EndSleep",
    "Ended",
    "Event",
    "Fork",
    "Mail",
    "Pause",
    "Query",
    "Reset",
    "Resume",
    "Start",
    "StepBegun",
    "StepFailedOnce",
    "StepResult",
    "Unpause",
    "Update",
    "Wake",
    "Word",
    "attempts_made",
    "conflict",
    "decode_dispatch",
    "decode_mail",
    "decode_news",
    "decode_request",
    "decode_serials",
    "decode_start",
    "encode",
    "kept_attempts",
    "peek_mail",
]

NOT_BEGUN = 0.0
"""The `started_at` of an outcome of a step that had no attempt under way: its time was over."""

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
    parent: str = ""
    """The run that has started it as a child."""
    retry: Retry | None = None
    """In place of what the workflow declares; so are `timeout` and `deadline`, in seconds."""
    timeout: float | None = None
    deadline: float | None = None
    queue: str | None = None
    """Whose workers run its tasks, but for those that name a queue themselves."""
    shares: bool = False
    """Whether a run that exists under the same idempotency key, with another payload, is as good."""
    fork: "Fork | None" = None
    """The run whose journal it begins with."""
    salt: bytes = b""
    """Chance that goes into the addresses of the run's steps, so that what is public does not give payloads away; empty without a codec."""
    locked: str = ""
    """The id of the key that the rest is sealed with: this is the public part."""
    priority: int = 0
    """Among the starts that wait at its workflow's limit: the highest comes first."""
    debounce: str = ""
    """The key, a token, under which its payload is gathered."""


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
    cached: bool = False
    """It is the cached result of another run's step: no attempt was made."""


class CacheMissed(_Wire, frozen=True, tag="missed"):
    """No cached result answers a step, so its task is to be sent. `revision` is what the lookup found. A host tells only itself."""

    address: str
    ordinal: int
    revision: int


class StepFailedOnce(_Wire, frozen=True, tag="failed"):
    """Attempts of a step failed and the next one is due only after `delay` seconds, too long to wait for it in a worker."""

    address: str
    ordinal: int
    serial: int
    failed: tuple[Attempt, ...]
    delay: float
    details: bytes | None = None
    """What the body's last heartbeat said (JSON)."""


class StepBegun(_Wire, frozen=True, tag="begun"):
    """A worker has taken up a dispatch with a `start_timeout`, at instant `at`, and is about to run the body."""

    address: str
    ordinal: int
    serial: int
    worker: str
    at: float


class Wake(_Wire, frozen=True, tag="wake"):
    """An alarm that the run has set for itself. It comes a little before its instant `due`, so that the run is ready then."""

    serial: int
    due: float


class Resume(_Wire, frozen=True, tag="resume"):
    """Go on if there is anything to go on with: what stood behind the run's last turn is about to be acknowledged by somebody else."""

    reason: str = ""


class Word(_Wire, frozen=True, kw_only=True):
    """What somebody asks of a run. One `id` counts once. `after`: the id of the word that its sender has sent the run before it."""

    id: str
    after: str = ""


class Event(Word, frozen=True, tag="event"):
    """Something that the run may wait for."""

    name: str
    payload: bytes


class Update(Word, frozen=True, tag="update"):
    """A message that the run's code handles and answers, on the core subject `reply`; each time it comes it is answered the same."""

    name: str
    payload: bytes
    reply: str = ""


class Cancel(Word, frozen=True, tag="cancel"):
    """Interrupt the run's code, which may clean up; `terminate`: end the run without asking it."""

    reason: str = ""
    terminate: bool = False


class CancelStep(Word, frozen=True, tag="cancel-step"):
    """Withdraw the outstanding steps of that name."""

    name: str
    reason: str = ""


class Pause(Word, frozen=True, tag="pause"):
    """Let the code rest: what comes is recorded and waits."""

    reason: str = ""


class Unpause(Word, frozen=True, tag="unpause"):
    """Go on with what has come since the pause."""


class EndSleep(Word, frozen=True, tag="end-sleep"):
    """End the sleep that would end first, now."""


class Query(_Wire, frozen=True, tag="query"):
    """Ask for a view of the run's variables; never stored."""

    name: str
    payload: bytes = b"null"


class Answer(_Wire, frozen=True, tag="answer"):
    """What an update or a query came to: `value` (JSON) when `error` is None."""

    id: str
    value: bytes
    error: ErrorInfo | None = None


class Ended(_Wire, frozen=True, tag="ended"):
    """A run has ended: `status` is its final state."""

    run_id: str
    status: State
    result: bytes | None
    error: ErrorInfo | None


class Again(Word, frozen=True, tag="again"):
    """Go on where the run has failed: what has completed stands, what has failed is done again."""

    reason: str = ""


class Reset(Word, frozen=True, tag="reset"):
    """Go back to before the step ended that has this address and ordinal."""

    address: str
    ordinal: int
    reason: str = ""


class Fork(_Wire, frozen=True):
    """Where a run comes from that begins with the journal of another one: up to the step of that address, or ("") the whole of it."""

    run_id: str
    address: str = ""
    ordinal: int = 0


AnyWord = Reset | Event | Update | Cancel | CancelStep | Pause | Unpause | EndSleep | Again
Mail = Start | StepResult | StepFailedOnce | Wake | Resume | Ended | StepBegun | CacheMissed | AnyWord


def conflict(start: Start) -> Ended:
    """What the sender of a start is told whose idempotency key another payload has."""
    error = IdempotencyConflict(f"run {start.run_id} has idempotency key {start.key!r} and another payload")
    return Ended(start.run_id, "failed", None, ErrorInfo.of(error))


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
    deadline_at: float | None = None
    """The instant at which the run gives the step up."""
    start_by: float | None = None
    """The instant by which a worker must have taken the dispatch up."""
    heartbeat: float | None = None
    details: bytes | None = None
    """What the last heartbeat of an earlier attempt said (JSON)."""
    first_began_at: float | None = None
    """When the step's first attempt began, if there was one before."""
    cache: CacheUse | None = None
    """Where its result is to be kept for other runs."""
    place: str = ""
    """At its task's gate, if that has one."""


_encoder = msgspec.msgpack.Encoder()
_start = msgspec.msgpack.Decoder(Start)
_mail = msgspec.msgpack.Decoder(Mail)
_dispatch = msgspec.msgpack.Decoder(Dispatch)
_news = msgspec.msgpack.Decoder(Ended | Answer)
_request = msgspec.msgpack.Decoder(Mail | Query)
_serials = msgspec.msgpack.Decoder(list[int])
encode = _encoder.encode
decode_mail = checked(_mail.decode)
decode_dispatch = checked(_dispatch.decode)
decode_news = checked(_news.decode)
decode_request = checked(_request.decode)
decode_start = checked(_start.decode)
decode_serials = _serials.decode


def peek_mail(data: bytes) -> Mail:
    """A message, or what anybody may read of one that is sealed: `Start.locked` tells. `KeyMissing` when that is nothing."""
    message: Mail = decode_mail(public_part(data) or data)
    return message
