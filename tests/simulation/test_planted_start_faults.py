"""The simulation notices when a rule of limits of runs or of debounced starts is broken: each planted fault must show within some seeds."""

from collections.abc import Callable
from typing import Any

import pytest

from aiki.actors.gatherings import Gatherings
from aiki.actors.lines import Lines
from aiki.lines import Gathering, Place
from tests.simulation import test_debounce, test_run_limits

SEEDS = 60


def forget_who_has_not_begun(patch: pytest.MonkeyPatch) -> None:
    """A run that is in its host's hands, and not written yet, counts as gone."""

    async def is_gone(self: Lines, workflow: str, place: Place) -> bool:
        stored = await self._runs.read(place.run_id)
        return stored is None or stored.state in ("completed", "failed", "cancelled", "timed_out")

    patch.setattr(Lines, "_is_gone", is_gone)


def leave_too_early(patch: pytest.MonkeyPatch) -> None:
    """Whoever asks for a place gives away that of the first inside."""
    enter = Lines.enter

    async def careless(self: Lines, workflow: str, key: str, place: Place, *more: Any, **options: Any) -> Any:
        line = await enter(self, workflow, key, place, *more, **options)
        if line.inside and line.inside[0].run_id != place.run_id:
            await self.leave(workflow, key, line.inside[0].run_id)
        return line

    patch.setattr(Lines, "enter", careless)


def close_without_a_fence(patch: pytest.MonkeyPatch) -> None:
    """A run takes the payload that it has seen, whatever comes meanwhile."""

    async def close(self: Gatherings, workflow: str, key: str, run_id: str, now: float) -> float | bytes | None:
        gathering, _ = await self.read(workflow, key)
        if gathering is None or gathering.run_id != run_id:
            return None if gathering is None else gathering.earlier.get(run_id)
        return gathering.due if gathering.due > now else gathering.payload

    patch.setattr(Gatherings, "close", close)


def forget_earlier_payloads(patch: pytest.MonkeyPatch) -> None:
    """Who opens a gathering does not keep the payload of the run before it."""
    write = Gatherings.write

    async def careless(self: Gatherings, key: str, gathering: Gathering, revision: int, **options: Any) -> None:
        gathering.earlier = {}
        await write(self, key, gathering, revision, **options)

    patch.setattr(Gatherings, "write", careless)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("fault", "play"),
    [
        (leave_too_early, test_run_limits.test_kills_and_faults),
        (forget_who_has_not_begun, test_run_limits.test_kills_and_faults),
        (close_without_a_fence, test_debounce.test_kills_and_faults),
        (forget_earlier_payloads, test_debounce.test_kills_and_faults),
    ],
)
def test_planted_fault_is_found(
    fault: Callable[[pytest.MonkeyPatch], None], play: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    fault(monkeypatch)
    for seed in range(SEEDS):
        try:
            play(seed)
        except BaseException as error:
            print(f"{fault.__name__}: found with seed {seed}: {str(error)[:200]}")
            return
    pytest.fail(f"{SEEDS} seeds did not notice {fault.__name__}")
