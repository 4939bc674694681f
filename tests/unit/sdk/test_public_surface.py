"""The public names are a promise: this list changes only on purpose."""

import importlib
import subprocess
import sys

import pytest

SURFACE = {
    "aiki.sdk": """Actor ActorContext ActorDeadlock ActorError ActorFailed ActorHeld ActorNotFound ActorRef ActorStopped ActorTimeout
        ActorView AesGcmCodec AikiError Archiver BackfillTooLarge Cache CachedView ChildCancelled ChildFailed ChildHandle ChildTimedOut
        Client Codec CodecError
        Concurrency Context
        DeadLetterView Debounce DefinitionError ErrorInfo Event EventTimeout Graph HookInfo IdempotencyConflict ImportRefused InvalidGraph
        InvalidName InvalidSchedule KeyMissing KeyProvider
        LetterNotFound LimitReached NonDeterminismError NotRetryable PayloadError PayloadLost PayloadTooLarge Progress
        QueryFailed QueueView Rate ResultTimeout Retention Retry RetryAfter RunEnded RunHandle RunId RunNotFound RunPoisoned RunStatus
        RunView Saga SagaFailed Schedule ScheduleConflict ScheduleHandle ScheduleId ScheduleNotFound ScheduleView StepNotFound
        Tampered Task
        TaskCancelled TaskContext TaskFailed TaskId TaskPoisoned TaskTimedOut Trigger UnknownEvent UnknownHandler
        UnknownWorkflow UpdateFailed Variables VersionRetired Webhook WebhookExpired WebhookInvalid Worker WorkerId WorkerLost
        Workflow WorkflowCancelled WorkflowFailed WorkflowStuck WorkflowTimedOut actor event graph handler inputs item node
        ref task workflow""",
    "aiki.codec": "AesGcmCodec Codec KEY_BYTES KeyProvider new_key read_key_file",
    "aiki.actor": "Actor ActorContext ActorRef ActorView actor handler",
    "aiki.graph": "Expression Graph Node NodeProgress graph inputs item node progress_of ref render_run",
    "aiki.task": "Cache Concurrency Rate Retry RetryAfter Task TaskCache TaskContext task",
    "aiki.client": """Advice Archiver AttemptView BlobView CachedView ChildView Client Collected DeadLetterView DeadLetters Done Event
        FiringView KeyView LimitView MessageView OnConflict Progress Proposal
        QueueView Report RunHandle RunHistory RunStatus RunView ScheduleHandle ScheduleView StepView VersionView WaitView event""",
    "aiki.workflow": """ChildHandle Context HookInfo Replayed Saga Variables Webhook Workflow replay workflow""",
    "aiki.worker": "Registry Worker",
    "aiki.testing": "Call Injection Moment NothingWillHappen PlannedCrash Replayed RunHistory Stub TestEnvironment replay",
    "aiki.services.timer": "TimerService",
}


@pytest.mark.parametrize("module", SURFACE)
def test_public_names(module: str) -> None:
    portion = importlib.import_module(module)
    assert sorted(portion.__all__) == sorted(SURFACE[module].split())
    assert all(getattr(portion, name) is not None for name in portion.__all__)


def test_importing_the_sdk_is_light() -> None:
    """What costs start-up time stays out until it is used."""
    heavy = (
        "nats",
        "pydantic",
        "opentelemetry.trace",
        "rich",
        "click",
        "uvloop",
        "croniter",
        "aiki.transport.jetstream",
        "aiki.transport.memory",
    )
    code = f"import sys, aiki.sdk; print([name for name in {heavy!r} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
