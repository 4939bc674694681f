"""The engine under faults with a codec: what holds in plain holds sealed, also where some workers have no key."""

import pytest

from aiki.codec import AesGcmCodec
from aiki.transport import Faults
from tests.simulation import test_engine, test_journals, test_messages
from tests.simulation.test_engine import FAULTS, SEEDS

SOME = max(SEEDS // 4, 1)


def codec() -> AesGcmCodec:
    return AesGcmCodec({"k1": bytes(range(32))}, "k1")


@pytest.mark.parametrize("seed", range(SOME))
def test_kills_and_faults(seed: int) -> None:
    test_engine.simulate(seed, faults=FAULTS, kills=8, cached_runs=1 if seed % 4 == 0 else 5000, codec=codec())


@pytest.mark.parametrize("seed", range(SOME))
def test_workers_without_the_key_are_no_harm(seed: int) -> None:
    test_engine.simulate(seed, faults=FAULTS if seed % 2 else Faults(), kills=4, codec=codec(), lacking=3)


@pytest.mark.parametrize("seed", range(SOME))
def test_messages_and_children(seed: int) -> None:
    test_messages.simulate(seed, faults=FAULTS, kills=6, codec=codec())


@pytest.mark.parametrize("seed", range(SOME))
def test_journals_that_begin_anew(seed: int) -> None:
    test_journals.simulate(seed, faults=FAULTS, kills=6, codec=codec())
