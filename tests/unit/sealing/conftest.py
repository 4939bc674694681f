"""What a codec does to the process is undone after each test."""

from collections.abc import Iterator

import pytest

from aiki.telemetry import be_discreet


@pytest.fixture(autouse=True)
def frankness() -> Iterator[None]:
    """Loggers that tell all, as before."""
    yield
    be_discreet(discreet=False)
