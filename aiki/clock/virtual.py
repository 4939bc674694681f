"""Virtual time: an event loop whose clock jumps to the next timer whenever nothing else is to be done.

Everything that runs on such a loop (`asyncio.sleep`, time-outs, the in-memory transport) sees one clock that costs no real time. Threads
started through the loop (`asyncio.to_thread`) are waited for in real time, with the virtual clock standing still.
"""

import asyncio
import concurrent.futures
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

__all__ = ["VirtualClock", "VirtualTimeLoop", "run_virtual"]

Result = TypeVar("Result")
EPOCH = 1_700_000_000.0
"""The instant at which virtual clocks begin (2023-11-14T22:13:20Z).

The loop's own time begins near zero, where floating point numbers are dense.
"""


class _Selector(selectors.DefaultSelector):
    """Polls without waiting, and moves the loop's clock instead of sleeping."""

    loop: "VirtualTimeLoop"

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if self.loop.threads:
            return super().select(timeout if timeout is None else min(timeout, 0.01))
        if timeout is None:
            raise RuntimeError("virtual time: every task waits and no timer is set, so nothing will ever happen again")
        self.loop.advance(timeout)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An asyncio loop on virtual time."""

    def __init__(self) -> None:
        selector = _Selector()
        selector.loop = self
        self.threads = 0
        self._virtual_now = 1.0
        super().__init__(selector)
        # asyncio's nanosecond vanishes when it is added to a year, and a timer could be due for ever without firing.
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self._virtual_now

    def advance(self, seconds: float) -> None:
        """Move the clock forward; due timers run in the next iteration."""
        # A microsecond at least, so that rounding between instants and the loop's time cannot spin.
        self._virtual_now += max(seconds, 1e-6)

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> "asyncio.Future[Any]":  # type: ignore[override]
        future = super().run_in_executor(executor, func, *args)
        self.threads += 1
        future.add_done_callback(self._thread_ended)
        return future

    async def shutdown_default_executor(self, *args: Any) -> None:
        """At the loop's end: it waits for a thread that waits for the threads."""
        self.threads += 1
        try:
            await super().shutdown_default_executor(*args)
        finally:
            self.threads -= 1

    def _thread_ended(self, _: "asyncio.Future[Any] | concurrent.futures.Future[Any]") -> None:
        self.threads -= 1


class VirtualClock:
    """The clock of a `VirtualTimeLoop`. `skew` seconds may be added to play a host whose clock is off."""

    def __init__(self, loop: VirtualTimeLoop, skew: float = 0.0) -> None:
        self.loop = loop
        self.skew = skew

    def now(self) -> float:
        return EPOCH + self.loop.time() + self.skew


def run_virtual(main: Callable[[VirtualClock], Coroutine[Any, Any, Result]]) -> Result:
    """Run `main(clock)` on a fresh virtual-time loop and return its result."""
    loop = VirtualTimeLoop()
    try:
        asyncio.set_event_loop(loop)
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            return runner.run(main(VirtualClock(loop)))
    finally:
        asyncio.set_event_loop(None)
