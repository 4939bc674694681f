"""What can be registered on a host: the engine's view of workflows and tasks."""

from collections.abc import Coroutine
from typing import Any, Literal, Protocol

from aiki.journal import RunMachine
from aiki.types.admission import Admission
from aiki.types.pulse import Pulse
from aiki.types.retention import Retention
from aiki.types.retry import Retry
from aiki.types.run_limit import RunLimit

__all__ = ["RunDefinition", "TaskDefinition"]


class RunDefinition(Protocol):
    """A workflow's version."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def retry(self) -> Retry: ...
    @property
    def timeout(self) -> float | None:
        """Seconds for one attempt of the workflow."""

    @property
    def deadline(self) -> float | None:
        """Seconds for all attempts together, from the beginning of the first."""

    @property
    def cleanup(self) -> float:
        """Seconds that its code has after it was cancelled."""

    @property
    def retention(self) -> Retention:
        """For how long its runs are kept after their end, as far as that is not left to the worker."""

    @property
    def archive(self) -> bool | None:
        """Whether its runs are archived before they expire; None: as the worker says."""

    @property
    def on_nondeterminism(self) -> Literal["fail", "hold"]:
        """What becomes of a run that the code does not fit."""

    @property
    def run_limit(self) -> RunLimit | None:
        """How many of its runs may be under way at a time."""

    def program(self, machine: RunMachine) -> Coroutine[Any, Any, bytes]:
        """The code of one run."""


class TaskDefinition(Protocol):
    """A task."""

    @property
    def name(self) -> str: ...
    @property
    def retry(self) -> Retry: ...
    @property
    def timeout(self) -> float | None: ...
    @property
    def heartbeat(self) -> float | None:
        """Seconds of silence after which an attempt fails."""

    @property
    def on_cancel(self) -> Literal["tell", "raise"]:
        """What happens to a body that nobody waits for any more."""

    @property
    def max_deaths(self) -> int:
        """Workers that may die of one call before it is given up."""

    @property
    def on_poison(self) -> Literal["hold", "fail"]:
        """What becomes of a call that is given up: it waits in the dead-letter list, or fails."""

    @property
    def admission(self) -> Admission | None:
        """How its dispatches are let in; None: at once."""

    def standing(self, payload: bytes) -> str:
        """Where a dispatch with this payload stands at the task's gate, as far as its sender did not say."""

    async def execute(self, payload: bytes, *, run_id: str, attempt: int, key: str, pulse: Pulse | None = None) -> bytes:
        """Validate the payload, run the body, validate and encode its result."""
