"""The deterministic event loop that workflow code runs on.

An `asyncio.AbstractEventLoop` with a ready queue, a heap of timers and a clock that the run machine sets. It does no I/O and never waits:
`drain` runs callbacks until none is ready. `gather`, `TaskGroup`, `timeout`, `wait`, `sleep`, queues, locks and events of asyncio work on
it as they are; whatever needs the outside world (sockets, threads, subprocesses, signals) raises `DurableLoopError`.
"""

import asyncio
import contextlib
import contextvars
import heapq
import logging
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, TypeVar

from aiki.types.errors import DurableLoopError, WorkflowStuck

__all__ = ["DeterministicLoop"]

Result = TypeVar("Result")

MAX_CALLBACKS = 1_000_000
"""Callbacks in one drain after which code is taken to spin (for example `while True: await asyncio.sleep(0)`)."""

_log = logging.getLogger("aiki.workflow")


class _Task(asyncio.Task[Result]):
    """A task whose hash is its number, so that sets of tasks (`asyncio.wait` returns two) iterate in the same order at every replay."""

    _number: int

    def __hash__(self) -> int:
        return self._number


class DeterministicLoop(asyncio.AbstractEventLoop):
    """One run's loop. `time()` is the instant of the turn, in seconds since the epoch."""

    def __init__(self) -> None:
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._order = 0
        self._numbers = 0
        self._now = 0.0
        self._closed = False
        self._tasks: dict[int, _Task[Any]] = {}

    # -- driven by the run machine

    def drain(self) -> None:
        """Run callbacks until none is ready. `WorkflowStuck` when they never end."""
        ready = self._ready
        if not ready:
            return
        outer = events._get_running_loop()
        current = asyncio.current_task(outer) if outer is not None else None
        if outer is not None and current is not None:
            # From Python 3.14 on the current task is kept per thread, so the host's own task steps aside for the turn.
            asyncio._leave_task(outer, current)
        events._set_running_loop(self)
        left = MAX_CALLBACKS
        try:
            while ready:
                handle = ready.popleft()
                if not handle._cancelled:
                    # `sys.exit()` in workflow code ends its task (which holds the exception), not the worker.
                    with contextlib.suppress(SystemExit):
                        handle._run()
                    left -= 1
                    if not left:
                        ready.clear()
                        raise WorkflowStuck(
                            f"the code ran {MAX_CALLBACKS:,} callbacks without waiting for anything durable: it seems to spin"
                        )
        finally:
            events._set_running_loop(outer)
            if outer is not None and current is not None:
                asyncio._enter_task(outer, current)

    def advance(self, now: float) -> bool:
        """Set the clock (it never goes back) and run due timers one by one, draining after each. True if any was due."""
        fired = False
        timers = self._timers
        while timers and timers[0][0] <= now:
            when, _, handle = heapq.heappop(timers)
            if handle._cancelled:
                continue
            self._now = max(self._now, when)
            handle._scheduled = False  # type: ignore[attr-defined]
            self._ready.append(handle)
            fired = True
            self.drain()
        self._now = max(self._now, now)
        return fired

    def next_timer(self) -> float | None:
        """The instant of the earliest timer that is set."""
        timers = self._timers
        while timers and timers[0][2]._cancelled:
            heapq.heappop(timers)
        return timers[0][0] if timers else None

    def dispose(self) -> None:
        """Abandon all tasks: their code is closed where it stands, silently, and whatever it still calls on this loop raises."""
        self._closed = True
        self._ready.clear()
        self._timers.clear()
        for task in list(self._tasks.values()):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            coroutine = task.get_coro()
            try:
                if coroutine is not None:
                    coroutine.close()
            except BaseException as error:  # code that awaits or raises in its own clean-up
                _log.debug("abandoned workflow code raised while it was closed: %s", type(error).__name__)
        self._tasks.clear()
        self._ready.clear()

    # -- asyncio's side

    def time(self) -> float:
        return self._now

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        if not self._closed:
            self._ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        if not self._closed:
            self._order += 1
            heapq.heappush(self._timers, (when, self._order, handle))
            handle._scheduled = True  # type: ignore[attr-defined]
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Called by asyncio; a cancelled timer is dropped when it comes to the top."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Coroutine[Any, Any, Result], *, name: object = None, **options: Any) -> asyncio.Task[Result]:  # type: ignore[override]
        number = self._numbers = self._numbers + 1
        options.pop("eager_start", None)
        context = options.pop("context", None)
        task: _Task[Result] = _Task.__new__(_Task)
        task._number = number
        task.__init__(coro, loop=self, name=str(name) if name is not None else f"task-{number}", context=context)  # type: ignore[misc]
        self._tasks[number] = task
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(hash(task), None)

    def is_running(self) -> bool:
        return events._get_running_loop() is self

    def is_closed(self) -> bool:
        return self._closed

    def get_debug(self) -> bool:
        return False

    def set_debug(self, enabled: bool) -> None:
        """Debug mode would add wall-clock reads; it stays off."""

    def get_exception_handler(self) -> None:
        return None

    def set_exception_handler(self, handler: object) -> None:
        _refuse("set_exception_handler")

    def get_task_factory(self) -> None:
        return None

    def set_task_factory(self, factory: object) -> None:
        _refuse("set_task_factory")

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.call_exception_handler(context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self._closed:
            _log.warning("in workflow code: %s", context.get("message"), exc_info=context.get("exception"))

    async def shutdown_asyncgens(self) -> None:
        """Nothing to shut down: generators end with the run."""

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """There is no executor."""


def _refuse(name: str) -> NoReturn:
    raise DurableLoopError(
        f"workflow code called loop.{name}(): files, sockets, threads and processes are not replayed. "
        "Do this inside a task, or record its result with `await ctx.step(name, function)`.",
        call=name,
    )


def _refusing(name: str, is_async: bool) -> Callable[..., Any]:
    if is_async:

        async def refuse_async(self: DeterministicLoop, *args: Any, **options: Any) -> NoReturn:
            _refuse(name)

        return refuse_async

    def refuse(self: DeterministicLoop, *args: Any, **options: Any) -> NoReturn:
        _refuse(name)

    return refuse


def _close_the_rest() -> None:
    import inspect

    for name, member in inspect.getmembers(asyncio.AbstractEventLoop, inspect.isfunction):
        if not name.startswith("_") and name not in DeterministicLoop.__dict__:
            setattr(DeterministicLoop, name, _refusing(name, inspect.iscoroutinefunction(member)))


_close_the_rest()
