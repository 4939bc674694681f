"""What a workload needs from an engine. Ours and each peer's implement it, so that all do the same work under the same watch.

Every engine serves three workflows, whose steps take a label (the run's), the step's number and a value:
`chain` (steps `inc` one after another; answers the number of steps), `fan` (all steps `inc` at once; answers the sum of what they
return), `slow_chain` (steps that take 50 ms and log their start and end, one after another; answers the number of steps).
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from benchmarks.steplog import StepLog

__all__ = ["SLOW_STEP_S", "Engine", "RestartsServer", "Run", "Step", "Trees", "Workflow"]

Workflow = Literal["chain", "fan", "slow_chain", "sleeper"]

SLOW_STEP_S = 0.05


class Step(NamedTuple):
    """A step of a run, as the step log names it."""

    label: str
    number: int


class Trees(NamedTuple):
    """The roots of the process trees that do the work, the client's apart: that is the benchmark's own process."""

    server: Sequence[int]
    worker: Sequence[int]


class Run(Protocol):
    """A run that the engine has durably accepted."""

    async def result(self) -> int:
        """Its output, when it has completed."""


class Engine(Protocol):
    """A server on a fresh store, its workers, and a client; entered and left as an async context manager."""

    log: StepLog

    async def start(self, workflow: Workflow, label: str, steps: int) -> Run:
        """Start a run; returns when the engine has accepted it."""

    async def call(self, workflow: Workflow, label: str, steps: int) -> int:
        """From start to result, the shortest way the engine has."""

    def trees(self) -> Trees:
        """Whose CPU time and memory to count."""

    def kill_worker(self) -> None:
        """SIGKILL to one worker process."""

    async def restart_worker(self) -> None:
        """Start the killed worker again; need not wait until it serves."""

    async def durable_writes(self) -> int | None:
        """Messages or rows that the server has stored since it began; None when it does not tell."""

    async def recorded(self, labels: Sequence[str]) -> set[Step] | None:
        """The slow steps whose results stand in the store now, readable without any worker; None when the engine does not tell."""


@runtime_checkable
class RestartsServer(Protocol):
    """An engine whose server can be killed and started again."""

    async def restart_server(self) -> float:
        """SIGKILL to the server, and another one on its store: the seconds until that one answers."""
