"""Repeating what must become known."""

import asyncio

import pytest

from aiki.clock import VirtualClock, run_virtual
from aiki.transport.surely import Sure, surely
from aiki.types.errors import Conflict, OutcomeUnknown, RequestTimeout


class Flaky:
    """Raises these, one after another, then answers."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    async def __call__(self) -> str:
        self.calls += 1
        await asyncio.sleep(1)
        if self.errors:
            raise self.errors.pop(0)
        return "stored"


def lost(_: int = 0) -> OutcomeUnknown:
    return OutcomeUnknown("no answer", subject="s")


def test_an_answer_at_once() -> None:
    async def main(clock: VirtualClock) -> None:
        assert await surely(Flaky()) == Sure("stored", False)

    run_virtual(main)


def test_what_is_unknown_is_repeated() -> None:
    async def main(clock: VirtualClock) -> None:
        write = Flaky(lost(), RequestTimeout("no answer", subject="s", timeout=1), *map(lost, range(50)))
        assert await surely(write) == Sure("stored", True)
        assert write.calls == 53

    run_virtual(main)


def test_patience_ends() -> None:
    async def main(clock: VirtualClock) -> None:
        began = clock.now()
        with pytest.raises(OutcomeUnknown):
            await surely(Flaky(*map(lost, range(1000))), within=0)
        assert clock.now() - began >= 1

    run_virtual(main)


def test_what_is_known_to_have_failed_is_not_repeated() -> None:
    async def main(clock: VirtualClock) -> None:
        write = Flaky(lost(), Conflict("lost", subject="s"))
        with pytest.raises(Conflict):
            await surely(write)
        assert write.calls == 2

    run_virtual(main)
