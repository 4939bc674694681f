"""The engine under faults with a codec: what holds in plain holds sealed, also where some workers have no key."""

import pytest

from aiki.clock import run_virtual
from aiki.codec import AesGcmCodec
from aiki.transport import Faults
from tests.simulation import test_engine, test_messages
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
    try:
        run_virtual(lambda clock: test_messages.trial(clock, seed, faults=FAULTS, kills=6, codec=codec()))
    except BaseException as error:
        error.add_note(f"seed {seed}")
        raise
