"""The deterministic event loop that workflow code runs on.

An `asyncio.AbstractEventLoop` with a ready queue, a heap of timers and a clock that the run machine sets. It does no I/O and never waits:
`drain` runs callbacks until none is ready. `gather`, `TaskGroup`, `timeout`, `wait`, `sleep`, queues, locks and events of asyncio work on
it as they are; whatever needs the outside world (sockets, threads, subprocesses, signals) raises `DurableLoopError`.
"""

import asyncio
import contextvars
import ctypes
import heapq
import logging
import math
import sys
from asyncio import events
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from types import CoroutineType
from typing import Any, NoReturn, Self, TypeVar

from aiki.journal.suspension import RunEvicted
from aiki.types.duration import LONGEST
from aiki.types.errors import DurableLoopError, WorkflowStuck

__all__ = ["DeterministicLoop", "Shield"]

Result = TypeVar("Result")
Outer = tuple[asyncio.AbstractEventLoop | None, "asyncio.Task[Any] | None", Any]

MAX_CALLBACKS = 1_000_000
"""Callbacks in one drain after which code is taken to spin (for example `while True: await asyncio.sleep(0)`)."""

MAX_REFUSALS = 100
"""How often abandoned code is told so before it is left where it stands."""

_END_OF_SLEEP = asyncio.futures._set_result_unless_cancelled  # type: ignore[attr-defined]
"""What `asyncio.sleep` has a timer call."""

_log = logging.getLogger("aiki.workflow")


class _Task(asyncio.Task[Result]):
    """A task whose hash is its number, so that sets of tasks (`asyncio.wait` returns two) iterate in the same order at every replay.

    While it is shielded, the cancellation of its run waits.
    """

    _number: int
    _loop: "DeterministicLoop"
    _shields = 0
    _interrupted = False

    def __hash__(self) -> int:
        return self._number

    def cancel(self, msg: Any = None) -> bool:
        loop = self.get_loop()
        assert isinstance(loop, DeterministicLoop)
        loop.cancellations += 1
        if self._shields and loop.interrupting:
            self._interrupted = True
            return True
        return super().cancel(msg)


class Shield:
    """`async with`: the cancellation of the run reaches the block's task only after the block."""

    def __init__(self) -> None:
        self._task: _Task[Any] | None = None

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        assert isinstance(task, _Task)
        self._task = task
        task._shields += 1

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        task = self._task
        assert task is not None
        task._shields -= 1
        if not task._shields and task._interrupted:
            task._interrupted = False
            if error is None:
                raise asyncio.CancelledError


class DeterministicLoop(asyncio.AbstractEventLoop):
    """One run's loop. `time()` is the instant of the turn, in seconds since the epoch.

    `seed` is where the numbers of its tasks begin. asyncio keeps the tasks of all loops in one set: those of different runs should differ.
    """

    def __init__(self, seed: int = 0) -> None:
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._order = 0
        self._cancelled = 0
        self._seed = self._numbers = seed
        self.now = 0.0
        """The instant of the turn, in seconds since the epoch."""
        self._closed = False
        self._refusals = 0
        self._tasks: dict[int, _Task[Any]] = {}
        self.cancellations = 0
        """How often a task was cancelled: what has not changed since need not be looked for."""
        self.interrupting = False
        """The run is being cancelled, not a task by its own code."""
        self.on_sleep: Callable[[float], object] | None = None
        """Called with the instant at which a sleep ends, when it begins."""

    @classmethod
    def new(cls, seed: int = 0) -> Self:
        """A loop. (The methods that it lacks, by which checkers take it for abstract, are made to refuse below.)"""
        return cls(seed)

    # -- driven by the run machine

    def drain(self) -> None:
        """Run callbacks until none is ready. `WorkflowStuck` when they never end."""
        ready = self._ready
        if not ready:
            return
        left = MAX_CALLBACKS
        before = self._enter()
        try:
            while ready:
                handle = ready.popleft()
                if not handle._cancelled:
                    # `sys.exit()` in workflow code ends its task (which holds the exception), not the worker.
                    try:  # noqa: SIM105 (three calls less, in each callback of each turn)
                        handle._run()
                    except SystemExit:
                        pass
                    left -= 1
                    if not left:
                        ready.clear()
                        raise WorkflowStuck(
                            f"the code ran {MAX_CALLBACKS:,} callbacks without waiting for anything durable: it seems to spin"
                        )
        finally:
            self._leave(before)

    def advance(self, now: float) -> bool:
        """Set the clock (it never goes back) and run due timers one by one, draining after each. True if any was due."""
        left = MAX_CALLBACKS
        timers = self._timers
        while timers and timers[0][0] <= now:
            when, _, handle = heapq.heappop(timers)
            if handle._cancelled:
                continue
            if not left:
                raise WorkflowStuck(
                    f"{MAX_CALLBACKS:,} timers of the code were due at once: it seems to sleep for no time, again and again"
                )
            left -= 1
            if when > self.now:
                self.now = when
            handle._scheduled = False  # type: ignore[attr-defined]
            self._ready.append(handle)
            self.drain()
        if now > self.now:
            self.now = now
        return left < MAX_CALLBACKS

    @property
    def sleeps(self) -> bool:
        """Whether some code sleeps. (Time-outs are timers too, but no sleeps.)"""
        return any(_is_sleep(handle) for _, _, handle in self._timers)

    def end_sleep(self) -> None:
        """End the sleep that would end first, wherever the clock stands."""
        first = min((timer for timer in self._timers if _is_sleep(timer[2])), default=None)
        if first is None:
            return
        self._timers.remove(first)
        heapq.heapify(self._timers)
        first[2]._scheduled = False  # type: ignore[attr-defined]
        self._ready.append(first[2])
        self.drain()

    def interrupt(self, task: "asyncio.Task[Any]") -> None:
        """Cancel the run's main task, and so what it waits for."""
        self.interrupting = True
        try:
            task.cancel()
        finally:
            self.interrupting = False
        self.drain()

    def next_timer(self) -> float | None:
        """The instant of the earliest timer that is set."""
        timers = self._timers
        while timers and timers[0][2]._cancelled:
            heapq.heappop(timers)
        return timers[0][0] if timers else None

    def dispose(self) -> None:
        """Abandon all tasks: their code is closed where it stands, silently; what it still calls on this loop raises `RunEvicted`."""
        self._closed = True
        self._ready.clear()
        self._timers.clear()
        tasks = list(self._tasks.values())
        for task in tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        before = self._enter()
        try:
            for task in tasks:
                for coroutine in _innermost_first(task.get_coro()):
                    if not _close(coroutine):
                        _log.warning(
                            "abandoned code (%s) does not let itself be closed: does it catch BaseException in a loop?", task.get_name()
                        )
                        # To free it would run it once more, for ever perhaps, also at the exit of the process: so it is never freed.
                        ctypes.pythonapi.Py_IncRef(ctypes.py_object(coroutine))
        finally:
            self._leave(before)
        # Nothing is left that refers to itself, so the memory is free at once. What is called back by this, a closed loop drops.
        for task in tasks:
            task.remove_done_callback(self._forget)
            if (waiter := task._fut_waiter) is not None:  # type: ignore[attr-defined]
                waiter.cancel()
        self._tasks.clear()

    def _enter(self) -> Outer:
        """Make this the running loop of the thread; what `_leave` needs to undo it."""
        outer = events._get_running_loop()
        current = asyncio.current_task(outer) if outer is not None else None
        if outer is not None and current is not None:
            # From Python 3.14 on the current task is kept per thread, so the host's own task steps aside for the turn.
            asyncio._leave_task(outer, current)
        hooks = sys.get_asyncgen_hooks()
        events._set_running_loop(self)
        sys.set_asyncgen_hooks(None, _forget_generator)
        return outer, current, hooks

    def _leave(self, before: Outer) -> None:
        outer, current, hooks = before
        sys.set_asyncgen_hooks(*hooks)
        events._set_running_loop(outer)
        if outer is not None and current is not None:
            asyncio._enter_task(outer, current)

    def _refuse_evicted(self) -> None:
        if self._closed and self._refusals < MAX_REFUSALS:
            self._refusals += 1
            raise RunEvicted

    # -- asyncio's side

    def time(self) -> float:
        return self.now

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
        return self.call_at(self.now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        self._refuse_evicted()
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        if when == math.inf:
            return handle
        if not when - self.now <= LONGEST:
            raise DurableLoopError(f"a timer must be at most {LONGEST:g} seconds ahead, not {when - self.now:g}", call="call_at")
        if not self._closed:
            self._order += 1
            heapq.heappush(self._timers, (when, self._order, handle))
            handle._scheduled = True  # type: ignore[attr-defined]
            if self.on_sleep is not None and callback is _END_OF_SLEEP:
                self.on_sleep(when)
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Called by asyncio: drop cancelled timers once most are, so that a loop of short time-outs does not pile up long ones."""
        self._cancelled += 1
        if self._cancelled > 64 and self._cancelled * 2 > len(self._timers):
            self._timers[:] = [timer for timer in self._timers if not timer[2]._cancelled and timer[2] is not handle]
            heapq.heapify(self._timers)
            self._cancelled = 0

    def create_future(self) -> asyncio.Future[Any]:
        self._refuse_evicted()
        return asyncio.Future(loop=self)

    def create_task(self, coro: Coroutine[Any, Any, Result], *, name: object = None, **options: Any) -> asyncio.Task[Result]:  # type: ignore[override]
        if self._closed:
            coro.close()
            return self.create_future()  # type: ignore[return-value]
        if _called_by_as_completed():
            coro.close()
            raise DurableLoopError(
                "asyncio.as_completed starts coroutines in an order that is the process's own: give it tasks (asyncio.create_task)",
                call="as_completed",
            )
        number = self._numbers = self._numbers + 1
        options.pop("eager_start", None)
        context = options.pop("context", None)
        task: _Task[Result] = _Task.__new__(_Task)
        task._number = number
        task.__init__(coro, loop=self, name=str(name) if name is not None else f"task-{number - self._seed}", context=context)  # type: ignore[misc]
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


_AS_COMPLETED = {asyncio.as_completed.__code__}
if (_iterator := getattr(asyncio.tasks, "_AsCompletedIterator", None)) is not None:  # from Python 3.13 on
    _AS_COMPLETED.add(_iterator.__init__.__code__)


def _called_by_as_completed() -> bool:
    frame = sys._getframe(2)
    while frame.f_globals is asyncio.tasks.__dict__:
        if frame.f_code in _AS_COMPLETED:
            return True
        if frame.f_back is None:
            break
        frame = frame.f_back
    return False


def _innermost_first(coroutine: Any) -> list[Coroutine[Any, Any, Any]]:
    """A suspended coroutine and those that it awaits: to close the outer ones alone would free an inner one that goes on awaiting."""
    chain: list[Coroutine[Any, Any, Any]] = []
    while isinstance(coroutine, CoroutineType):
        chain.append(coroutine)
        coroutine = coroutine.cr_await
    return chain[::-1]


def _close(coroutine: Coroutine[Any, Any, Any]) -> bool:
    """Whether abandoned code has come to its end."""
    for _ in range(MAX_REFUSALS):
        try:
            coroutine.close()
        except RuntimeError:  # "coroutine ignored GeneratorExit": it awaits something in its clean-up, which is to raise as well
            if getattr(coroutine, "cr_frame", None) is not None:
                continue
        except BaseException as error:
            _log.debug("abandoned workflow code raised while it was closed: %s", type(error).__name__)
        return True
    return False


def _is_sleep(handle: asyncio.TimerHandle) -> bool:
    return not handle._cancelled and handle._callback is _END_OF_SLEEP  # type: ignore[attr-defined]


def _forget_generator(generator: AsyncGenerator[Any, Any]) -> None:
    """Nobody will finish it: when it is collected is the process's own affair, so its clean-up must be no part of the run."""


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
