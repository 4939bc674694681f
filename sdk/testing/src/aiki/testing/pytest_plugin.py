"""The pytest plugin: the fixtures `aiki` (in memory, virtual time) and `aiki_nats` (an embedded server, real time).

`@pytest.mark.aiki(always_replay=True)` gives options to the environment. It is loaded at each start of pytest, so it imports nothing of
Aiki until a test asks for a fixture.
"""

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from aiki.testing.environment import TestEnvironment


__all__ = ["aiki", "aiki_nats", "pytest_configure"]


def _fixture(function: Callable[..., Any]) -> Any:
    try:
        import pytest_asyncio
    except ImportError:  # its plugin is what runs async fixtures: without it nobody can use ours
        return pytest.fixture(function)
    return pytest_asyncio.fixture(function)


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", "aiki(**options): options of the environment behind the fixtures `aiki` and `aiki_nats`")


@_fixture
async def aiki(request: pytest.FixtureRequest) -> "AsyncIterator[TestEnvironment]":
    """An Aiki engine in memory, with virtual time: an `aiki.testing.TestEnvironment`."""
    from aiki.testing.environment import TestEnvironment

    async with TestEnvironment.in_memory(**_options(request)) as env:
        yield env


@_fixture
async def aiki_nats(request: pytest.FixtureRequest) -> "AsyncIterator[TestEnvironment]":
    """An Aiki engine on a NATS server of its own, in real time: an `aiki.testing.TestEnvironment`."""
    from aiki.testing.environment import TestEnvironment

    async with TestEnvironment.nats(**_options(request)) as env:
        yield env


def _options(request: pytest.FixtureRequest) -> dict[str, Any]:
    marker = request.node.get_closest_marker("aiki")
    return {} if marker is None else dict(marker.kwargs)
