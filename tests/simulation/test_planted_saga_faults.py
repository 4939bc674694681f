"""The simulation notices when a rule of sagas is broken: each planted fault must spoil a run within some dozens of seeds."""

from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import pytest

from aiki.sdk import Context, Saga
from aiki.transport import Faults
from aiki.workflow import saga
from aiki.workflow.undoing import Undoings
from tests.simulation.test_sagas import simulate

SEEDS = 80

Patch = Callable[[pytest.MonkeyPatch], None]


def do_again_under_the_same_identity(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Context, "within", lambda self, scope: self)


def forget_what_was_undone(patch: pytest.MonkeyPatch) -> None:
    begin = Undoings.__init__

    def forgetful(self: Undoings, attempt: int, marks: Iterable[bytes], prefix: str = "") -> None:
        begin(self, attempt, (), prefix)

    patch.setattr(Undoings, "__init__", forgetful)


def let_cancellations_in(patch: pytest.MonkeyPatch) -> None:
    async def bare(coroutine: Coroutine[Any, Any, Any], name: str) -> Any:
        return await coroutine

    patch.setattr(saga, "sheltered", bare)


def undo_in_the_order_of_doing(patch: pytest.MonkeyPatch) -> None:
    undo = Saga._undo

    async def forwards(self: Saga) -> None:
        self._done.reverse()
        await undo(self)

    patch.setattr(Saga, "_undo", forwards)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "fault", [do_again_under_the_same_identity, forget_what_was_undone, let_cancellations_in, undo_in_the_order_of_doing]
)
def test_planted_fault_is_found(fault: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    fault(monkeypatch)
    for seed in range(SEEDS):
        try:
            simulate(seed, faults=Faults(), kills=0)
        except BaseException as error:
            print(f"{fault.__name__}: found with seed {seed}: {str(error)[:200]}")
            return
    pytest.fail(f"{fault.__name__} was not noticed in {SEEDS} seeds")
