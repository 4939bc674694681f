"""A run's state: the one value that compare-and-set guards (MessagePack; arrays, to be compact).

Fields may be added at the end with a default, never moved or removed: old states and histories must keep replaying (`tests/replay`).
Instants are seconds since the epoch. Payloads are JSON, as bytes.
"""

from typing import Literal

import msgspec

from aiki.types.failure import ErrorInfo
from aiki.types.messages import Attempt
from aiki.types.retry import Retry
from aiki.types.states import State

__all__ = [
    "Alarm",
    "Entry",
    "OutAlarm",
    "OutDispatch",
    "Outgoing",
    "PendingStep",
    "RecordedStep",
    "Retried",
    "RunState",
    "StepKind",
    "Tick",
    "Woken",
    "decode_entries",
    "decode_state",
    "encode_entry",
    "encode_state",
]

StepKind = Literal["local", "task"]
FORMAT = 1


class RecordedStep(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True, tag="step"):
    """A step with its final outcome: `value` when `error` is None. `failed` holds the attempts that failed before."""

    address: str
    ordinal: int
    kind: StepKind
    name: str
    input: bytes
    issued_at: float
    at: float
    value: bytes
    error: ErrorInfo | None = None
    started_at: float = 0.0
    worker: str = ""
    failed: tuple[Attempt, ...] = ()
    queue: str | None = None


class Tick(msgspec.Struct, frozen=True, array_like=True, tag="tick"):
    """Time came to `at`, and timers that were due by then fired."""

    at: float


class Retried(msgspec.Struct, frozen=True, array_like=True, tag="again"):
    """The workflow's code failed with `error` and begins again at `at`: failed steps recorded before are void, completed ones stand."""

    at: float
    error: ErrorInfo


class Woken(msgspec.Struct, frozen=True, array_like=True, tag="woken"):
    """The sleep that would have ended first was ended early, by request `id`."""

    at: float
    id: str


Entry = RecordedStep | Tick | Retried | Woken


class PendingStep(msgspec.Struct, array_like=True, omit_defaults=True):
    """A step that was issued and has no outcome yet. `serial` numbers its present dispatch.

    `due` is when its next attempt begins, if it waits for that. At `deadline_at` it fails, whatever anybody does; at `start_by` too, unless
    a worker has said that it has begun the present dispatch. `details` (JSON) is what the last heartbeat of an earlier attempt said.
    """

    address: str
    ordinal: int
    kind: StepKind
    name: str
    input: bytes
    issued_at: float
    queue: str | None = None
    retry: Retry | None = None
    timeout: float | None = None
    key: str | None = None
    failed: tuple[Attempt, ...] = ()
    due: float | None = None
    serial: int = 0
    deadline_at: float | None = None
    start_timeout: float | None = None
    start_by: float | None = None
    heartbeat: float | None = None
    details: bytes | None = None

    @property
    def first_began_at(self) -> float | None:
        """When its first attempt began, if that has failed."""
        return self.failed[0].started_at if self.failed else None


class OutDispatch(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True, tag="task"):
    """Owed: the dispatch `serial` of a pending step, at once or at instant `due`."""

    serial: int
    address: str
    ordinal: int
    due: float | None = None


class OutAlarm(msgspec.Struct, frozen=True, array_like=True, tag="alarm"):
    """Owed: alarm `serial` for the run itself."""

    serial: int
    due: float


Outgoing = OutDispatch | OutAlarm


class Alarm(msgspec.Struct, frozen=True, array_like=True):
    """An alarm that has been set and has not come yet."""

    serial: int
    due: float


class RunState(msgspec.Struct, array_like=True, kw_only=True):
    """One run. `operation` names the commit that wrote it, so that a write with an unknown outcome can be recognised.

    `sealed` lists where sealed segments of the journal end: segment k holds the entries from `sealed[k-1]` to `sealed[k]`; `entries` holds
    the rest, encoded.
    """

    format: int = FORMAT
    operation: str = ""
    run_id: str
    workflow: str
    version: str
    status: State = "running"
    attempt: int = 1
    input: bytes
    input_hash: bytes
    key: str | None = None
    created_at: float
    started_at: float
    updated_at: float
    finished_at: float | None = None
    result: bytes | None = None
    error: ErrorInfo | None = None
    host: str = ""
    trace: dict[str, str] = {}
    reply: str = ""
    serial: int = 0
    retry_at: float | None = None
    held: ErrorInfo | None = None
    sealed: list[int] = []
    entries: list[msgspec.Raw] = []
    pending: list[PendingStep] = []
    alarms: list[Alarm] = []
    outbox: list[Outgoing] = []
    notify: str = ""


_encoder = msgspec.msgpack.Encoder()
_state = msgspec.msgpack.Decoder(RunState)
_entries = msgspec.msgpack.Decoder(list[Entry])
_entry = msgspec.msgpack.Decoder(Entry)

encode_state = _encoder.encode
decode_state = _state.decode


def encode_entry(entry: Entry) -> msgspec.Raw:
    """An entry as it stands in `RunState.entries`."""
    return msgspec.Raw(_encoder.encode(entry))


def decode_entries(raw: list[msgspec.Raw]) -> list[Entry]:
    """The entries that `encode_entry` encoded."""
    return [_entry.decode(item) for item in raw]
