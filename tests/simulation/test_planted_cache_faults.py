"""The simulation notices when a rule of the cache is broken: each planted fault must show within some dozens of seeds."""

from collections.abc import Callable
from functools import partial

import pytest

from aiki.actors import results
from aiki.clock import run_virtual
from aiki.kv import CachedResult, ResultStore
from aiki.transport import Faults
from aiki.types.cache import CacheUse
from tests.simulation.test_cache import trial

SEEDS = 60

Patch = Callable[[pytest.MonkeyPatch], None]


def store_whatever_the_lookup_found(patch: pytest.MonkeyPatch) -> None:
    write = ResultStore.write

    async def unfenced(self: ResultStore, task: str, use: CacheUse, result: CachedResult) -> int:
        _, revision = await self.read(task, use.id)
        return await write(self, task, CacheUse(use.id, use.ttl, revision=revision), result)

    patch.setattr(ResultStore, "write", unfenced)


def remember_for_ever(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(results, "REMEMBERED", 3600.0)
    patch.setattr(results.Results, "forget", lambda self, task, id: None)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("fault", [store_whatever_the_lookup_found, remember_for_ever])
def test_planted_fault_is_found(fault: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    fault(monkeypatch)
    for seed in range(SEEDS):
        try:
            run_virtual(partial(trial, seed=seed, faults=Faults(), kills=0, always_replay=False, cached_runs=5000))
        except AssertionError as error:
            print(f"{fault.__name__}: found with seed {seed}: {str(error)[:200]}")
            return
    pytest.fail(f"{SEEDS} seeds did not notice {fault.__name__}")
