"""Clean-up after tests of the run machine."""

from collections.abc import Iterator

import pytest

from tests.unit.journal.rig import Rig


@pytest.fixture(autouse=True)
def evict_rigs() -> Iterator[None]:
    yield
    Rig.evict_all()
