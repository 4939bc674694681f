"""A run's state: the one value that compare-and-set guards (MessagePack; arrays, to be compact).

Fields may be added at the end with a default, never moved or removed: old states and histories must keep replaying (`tests/replay`).
Instants are seconds since the epoch. Payloads are JSON, as bytes.
"""

from typing import Literal

import msgspec

from aiki.types.cache import CacheUse
from aiki.types.failure import ErrorInfo
from aiki.types.messages import Attempt, Start
from aiki.types.retry import Retry
from aiki.types.sealed import checked, public_part
from aiki.types.states import State

__all__ = [
    "Alarm",
    "Archival",
    "CancelAsked",
    "ChildRun",
    "Continued",
    "Entry",
    "Gathered",
    "Ignored",
    "Line",
    "Marked",
    "OutAlarm",
    "OutChild",
    "OutClose",
    "OutDiscard",
    "OutDispatch",
    "OutMail",
    "OutWithdrawal",
    "Outgoing",
    "ParentClose",
    "Paused",
    "PendingStep",
    "Published",
    "Received",
    "RecordedStep",
    "Retried",
    "RunState",
    "StepKind",
    "StepsCancelled",
    "Tick",
    "Unpaused",
    "Updated",
    "Wait",
    "WasReset",
    "Woken",
    "begun_again",
    "come_again",
    "decode_entries",
    "decode_state",
    "encode_entry",
    "encode_state",
    "new_run",
    "peek_state",
    "reopened",
]

StepKind = Literal["local", "task", "child"]
ParentClose = Literal["cancel", "abandon", "terminate"]
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
    child: str = ""
    """The id of the run that it started, if it is a child."""
    cached: bool = False
    """Whether a cached result answered it."""


class Tick(msgspec.Struct, frozen=True, array_like=True, tag="tick"):
    """Time came to `at`, and timers that were due by then fired."""

    at: float


class Retried(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True, tag="again"):
    """The workflow's code failed with `error` and begins again at `at`: failed steps recorded before are void, completed ones stand."""

    at: float
    error: ErrorInfo
    id: str = ""
    """Of the request, if it was by request."""


class Woken(msgspec.Struct, frozen=True, array_like=True, tag="woken"):
    """The sleep that would have ended first was ended early, by request `id`."""

    at: float
    id: str


class Received(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True, tag="event"):
    """An event came, waited for or not."""

    at: float
    name: str
    payload: bytes
    id: str


class Updated(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True, tag="update"):
    """An update came, and its handler began."""

    at: float
    name: str
    payload: bytes
    id: str


class CancelAsked(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True, tag="cancel"):
    """The run was told to end: its code is interrupted, or (`terminate`) not asked."""

    at: float
    id: str
    reason: str = ""
    terminate: bool = False


class Paused(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True, tag="pause"):
    """The run was paused: what is recorded from here on waits for the end of the pause."""

    at: float
    id: str
    reason: str = ""


class StepsCancelled(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True, tag="cancel-step"):
    """The outstanding steps of that name were withdrawn by request."""

    at: float
    id: str
    name: str
    reason: str = ""


class Unpaused(msgspec.Struct, frozen=True, array_like=True, tag="unpause"):
    """The pause was over."""

    at: float
    id: str


class Ignored(msgspec.Struct, frozen=True, array_like=True, tag="ignored"):
    """Something was asked that meant nothing then, and must mean nothing when it comes again: `what` is its kind."""

    at: float
    id: str
    what: str


class Marked(msgspec.Struct, frozen=True, array_like=True, tag="mark"):
    """The code came by here: at a change of it, or at the end of a hook that runs once."""

    at: float
    id: str


class Continued(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True, tag="continued"):
    """The run continued as new: its journal begins here.

    `known`: the ids of messages applied before, which may come once more; `marks`: those that hold for the whole run.
    """

    at: float
    known: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()


class WasReset(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True, tag="reset"):
    """The run was taken back, by request `id`, to before that step ended: what the code calls anew is found before here, or is run.

    `known`: the ids of messages applied since, which may come once more; `told`: how much the code had published.
    """

    at: float
    id: str
    address: str = ""
    ordinal: int = 0
    reason: str = ""
    known: tuple[str, ...] = ()
    told: int = 0


Entry = (
    WasReset
    | Continued
    | Marked
    | Ignored
    | RecordedStep
    | Tick
    | Retried
    | Woken
    | Received
    | Updated
    | CancelAsked
    | StepsCancelled
    | Paused
    | Unpaused
)


class Wait(msgspec.Struct, frozen=True, array_like=True):
    """The code waits for any of these events, since that instant."""

    names: tuple[str, ...]
    since: float


class Published(msgspec.Struct, frozen=True, array_like=True):
    """The `number`-th thing that the code has told whoever watches it: JSON."""

    number: int
    at: float
    data: bytes


class ChildRun(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """A sub-workflow, as its parent knows it. `close`: what becomes of it when the parent ends first."""

    run_id: str
    workflow: str
    version: str
    close: ParentClose = "cancel"
    key: str | None = None
    retry: Retry | None = None
    timeout: float | None = None
    deadline: float | None = None
    queue: str | None = None
    shares: bool = False
    region: str = ""
    """Where it runs; "": where its parent does."""


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
    child: ChildRun | None = None
    left: bool = False
    """The code that called it is gone: it is known of until its end has been heard, and means nothing."""
    cache: CacheUse | None = None
    """Where its result is kept for other runs. While the cache is looked up for it, a task's `kind` is "local"."""
    place: str = ""
    """At its task's gate, if that has one."""

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


class OutWithdrawal(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True, tag="withdraw"):
    """Owed: the dispatch `dispatch` of task `name` is to be taken back."""

    serial: int
    dispatch: int
    name: str
    queue: str | None
    place: str = ""


class OutChild(msgspec.Struct, frozen=True, array_like=True, tag="child"):
    """Owed: the start of the sub-workflow that a step is."""

    serial: int
    address: str
    ordinal: int


class OutClose(msgspec.Struct, frozen=True, array_like=True, tag="close"):
    """Owed: word to a sub-workflow that it is to end."""

    serial: int
    address: str
    ordinal: int
    child: ChildRun


class OutMail(msgspec.Struct, frozen=True, array_like=True, tag="mail"):
    """Owed: an encoded message for the mailbox of another actor."""

    serial: int
    mailbox: str
    data: bytes


class OutDiscard(msgspec.Struct, frozen=True, array_like=True, tag="discard"):
    """Owed: the deletion of a sealed segment that the journal has no more."""

    serial: int
    begin: int
    end: int


Outgoing = OutDiscard | OutDispatch | OutAlarm | OutWithdrawal | OutChild | OutClose | OutMail


class Alarm(msgspec.Struct, frozen=True, array_like=True):
    """An alarm that has been set and has not come yet."""

    serial: int
    due: float


class Archival(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """What a run that has ended has to do with an archive.

    `retention`: seconds for which it is kept after its end, once it is archived; None: for ever. `archived_at`: when it was; until then it
    does not expire. `imported_at`: it was brought back from an archive then, for a look: its code never runs.
    """

    retention: float | None = None
    archived_at: float | None = None
    imported_at: float | None = None


class Gathered(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """The run of a debounced start: under that key its payload is gathered, until it has `taken` it."""

    key: str
    taken: bool = False


class Line(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """Where a run of a workflow with a limit stands: in the line of that key. See `aiki.lines.Place` for the rest.

    `waits`: it has no place yet, as far as it knows; until then `begins_at` is when it looks again.
    """

    key: str
    since: float
    stay: int = 1
    waits: bool = False


class RunState(msgspec.Struct, array_like=True, kw_only=True, omit_defaults=True):
    """One run. `operation` names the commit that wrote it, so that a write with an unknown outcome can be recognised.

    `sealed` lists where sealed segments of the journal end: segment k holds the entries from `sealed[k-1]` (of the first: `base`) to
    `sealed[k]`; `entries` holds the rest, encoded.
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
    begins_at: float | None = None
    """When its code is to begin, if that is still to come."""
    parent: str = ""
    retry: Retry | None = None
    """In place of what the workflow declares; so are `timeout` and `deadline`."""
    timeout: float | None = None
    deadline: float | None = None
    queue: str | None = None
    paused: Paused | None = None
    cancelled: CancelAsked | None = None
    waits: list[Wait] = []
    published: list[Published] = []
    """What the last commit that had any published; `published[-1].number` counts all there were."""
    published_before: int = 0
    """How many the attempts before this one published."""
    watchers: list[str] = []
    """Mailboxes, besides `notify`, that must be told of its end."""
    worker: str = ""
    """The worker that wrote it last."""
    base: int = 0
    """Where the journal begins: how many entries there were that it has no more."""
    generation: int = 0
    """How often the code has continued as new."""
    resets: int = 0
    """How often it was taken back to a step."""
    origin: str = ""
    """The run with whose journal this one began: chance goes by its id."""
    archival: Archival | None = None
    salt: bytes = b""
    """See `Start.salt`."""
    locked: str = ""
    """See `Start.locked`."""
    priority: int = 0
    """See `Start.priority`."""
    line: Line | None = None
    """Of a workflow with a limit, from when it has come to it."""
    gathered: Gathered | None = None

    @property
    def awaits_archive(self) -> bool:
        """It has ended, and must not expire before an archiver has it."""
        archival = self.archival
        return archival is not None and archival.archived_at is None and archival.imported_at is None

    @property
    def imported(self) -> bool:
        """It is a copy from an archive."""
        return self.archival is not None and self.archival.imported_at is not None


_encoder = msgspec.msgpack.Encoder()
_state = msgspec.msgpack.Decoder(RunState)
_entries = msgspec.msgpack.Decoder(list[Entry])
_entry = msgspec.msgpack.Decoder(Entry)

encode_state = _encoder.encode
decode_state = checked(_state.decode)


def peek_state(data: bytes) -> RunState:
    """A state, or what anybody may read of one that is sealed: `locked` tells."""
    return decode_state(public_part(data) or data)


def new_run(start: Start, now: float) -> RunState:
    """The state of a run that begins now, or is known of before it begins."""
    return RunState(
        run_id=start.run_id,
        workflow=start.workflow,
        version=start.version,
        input=start.input,
        input_hash=start.input_hash,
        key=start.key,
        created_at=start.created_at,
        started_at=now,
        updated_at=now,
        trace=start.trace,
        reply=start.reply,
        notify=start.notify,
        begins_at=start.due if start.due is not None and start.due > now else None,
        parent=start.parent,
        retry=start.retry,
        timeout=start.timeout,
        deadline=start.deadline,
        queue=start.queue,
        salt=start.salt,
        locked=start.locked,
        priority=start.priority,
        gathered=Gathered(start.debounce) if start.debounce else None,
    )


def begun_again(state: RunState, journal: list[Entry], now: float, id: str) -> list[Entry] | None:
    """Take a run that has ended without a result back to life, by request `id`: its whole journal, or None when it is not to be.

    The state is changed in place. What has completed is kept, and everything else begins anew.
    """
    if state.status == "completed" or state.imported or any(isinstance(entry, Retried | Ignored) and entry.id == id for entry in journal):
        return None
    entry = Retried(now, state.error or ErrorInfo(type=state.status), id)
    state.entries.append(encode_entry(entry))
    state.attempt += 1
    state.status, state.error, state.finished_at, state.retry_at, state.begins_at = "running", None, None, None, None
    state.cancelled, state.pending, state.outbox, state.alarms = None, [], [], []
    state.archival = None  # its next end is archived anew
    come_again(state)
    state.started_at = now
    return [*journal, entry]


def come_again(state: RunState) -> None:
    """A run that has ended goes on: its place was another's."""
    if state.line is not None:
        state.line = msgspec.structs.replace(state.line, stay=state.line.stay + 1, waits=True)


def reopened(state: RunState) -> RunState:
    """A copy of the state of a run that has ended, as it was before: replayed over the whole journal, the code comes to its end again."""
    copy = decode_state(encode_state(state))
    copy.status, copy.result, copy.error, copy.finished_at, copy.retry_at, copy.paused = "running", None, None, None, None, None
    return copy


def encode_entry(entry: Entry) -> msgspec.Raw:
    """An entry as it stands in `RunState.entries`."""
    return msgspec.Raw(_encoder.encode(entry))


def decode_entries(raw: list[msgspec.Raw]) -> list[Entry]:
    """The entries that `encode_entry` encoded."""
    return [_entry.decode(item) for item in raw]
