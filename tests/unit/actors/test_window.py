"""The window of a mailbox: turns that merely wait make room for others."""

import asyncio

from aiki.actors.window import FIT_AFTER, Window
from aiki.clock import VirtualClock, run_virtual


class Pull:
    """Counts how often demand is withdrawn."""

    def __init__(self, window: int) -> None:
        self.changes: list[int] = []
        self._window = window

    @property
    def window(self) -> int:
        return self._window

    @window.setter
    def window(self, size: int) -> None:
        self._window = size
        self.changes.append(size)

    @property
    def outstanding(self) -> int:
        return 0

    async def stop(self) -> None: ...


def test_it_grows_at_once_and_shrinks_for_many_at_a_time() -> None:
    async def main(clock: VirtualClock) -> None:
        window, pull = Window(10), Pull(10)
        window.consumption = pull
        for _ in range(3):
            window.wait_began()
        assert pull.changes == [11, 12, 13]
        for _ in range(3):
            window.wait_ended()
        assert pull.window == 13
        await asyncio.sleep(2 * FIT_AFTER)
        assert pull.changes == [11, 12, 13, 10]

    run_virtual(main)


def test_a_window_that_is_closed_stays_closed() -> None:
    async def main(clock: VirtualClock) -> None:
        window, pull = Window(10), Pull(0)
        window.consumption = pull
        window.wait_began()
        window.wait_ended()
        window.close()
        window.wait_began()
        await asyncio.sleep(2 * FIT_AFTER)
        assert pull.changes == [11]

    run_virtual(main)
