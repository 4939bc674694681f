"""Virtual time on the loop that is running, whoever made it: whenever nothing else is to be done, its clock jumps to the next timer.

The loop's selector and its `time` are replaced for a while. So the same `TestEnvironment` works under pytest-asyncio, `asyncio.run` and
`IsolatedAsyncioTestCase`, and none of them needs to be told (docs/adr/0007). Threads that are started through the loop are waited for in
real time, with the clock standing still.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from aiki.types.errors import AikiError, DefinitionError

__all__ = ["NothingWillHappen", "VirtualTime"]

LEAST_STEP = 1e-6
"""Seconds by which the clock moves at least, and within which a timer is due: a century later a float cannot tell less apart, and a timer
could be due for ever without firing."""
PAUSE = 0.01
"""Real seconds between two looks at threads."""


class NothingWillHappen(AikiError):
    """In virtual time: everything waits and no timer is set, so that the test would wait for ever. The message says what runs wait for."""

    code = "nothing_will_happen"


class VirtualTime:
    """A clock, and the loop that goes by it from `begin` to `end`. Several may share a loop, one after another or at a time."""

    def __init__(self, epoch: float, explain: Callable[[], str]) -> None:
        self._epoch = epoch
        self._explain = explain
        self._zero = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._epoch + (0.0 if self._loop is None else self._loop.time() - self._zero)

    def begin(self) -> None:
        """Take the running loop over. `DefinitionError` when it is not one of asyncio's own."""
        loop = asyncio.get_running_loop()
        inner = getattr(loop, "_selector", None)
        if inner is None or not isinstance(loop, asyncio.BaseEventLoop):
            raise DefinitionError(
                f"virtual time needs one of asyncio's own event loops, not {type(loop).__module__}.{type(loop).__name__}: "
                "run the test on that, or use TestEnvironment.nats()",
                where="testing",
            )
        if isinstance(inner, _Selector):
            selector = inner
        else:
            selector = _Selector(loop, inner)
            selector.take_over()
        selector.users.append(self)
        self._loop = loop
        self._zero = loop.time()

    def end(self) -> None:
        """Give the loop back, unless somebody else still needs it."""
        loop = self._loop
        selector = getattr(loop, "_selector", None)
        if isinstance(selector, _Selector) and self in selector.users:
            self._epoch, self._loop = self.now(), None
            selector.users.remove(self)
            if not selector.users:
                selector.give_back()

    def explain(self) -> str:
        """What the environment's runs wait for."""
        return self._explain()


class _Selector:
    """The loop's selector, which polls, and moves the loop's clock instead of waiting."""

    def __init__(self, loop: asyncio.BaseEventLoop, inner: Any) -> None:
        self.users: list[VirtualTime] = []
        self._loop = loop
        self._inner = inner
        self._now = loop.time()
        self._threads = 0
        self._resolution: float = loop._clock_resolution  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def take_over(self) -> None:
        run_in_executor = self._loop.run_in_executor

        def counted(*arguments: Any) -> "asyncio.Future[Any]":
            future = run_in_executor(*arguments)
            self._threads += 1
            future.add_done_callback(self._thread_ended)
            return future

        replaced = {"_selector": self, "time": lambda: self._now, "_clock_resolution": LEAST_STEP, "run_in_executor": counted}
        for name, value in replaced.items():
            setattr(self._loop, name, value)

    def give_back(self) -> None:
        loop: Any = self._loop
        loop._selector, loop._clock_resolution = self._inner, self._resolution
        del loop.time, loop.run_in_executor
        ahead = self._now - loop.time()
        for timer in loop._scheduled:  # what is left keeps its distance
            timer._when -= ahead

    def select(self, timeout: float | None = None) -> Any:
        ready = self._inner.select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if self._threads:
            return self._inner.select(PAUSE if timeout is None else min(timeout, PAUSE))
        if timeout is None:
            reasons = "".join(f"\n  {line}" for user in self.users for line in user.explain().splitlines())
            raise NothingWillHappen(f"virtual time: everything waits and no timer is set, so nothing will ever happen again{reasons}")
        self._now += max(timeout, LEAST_STEP)
        return ready

    def _thread_ended(self, _: object) -> None:
        self._threads -= 1
