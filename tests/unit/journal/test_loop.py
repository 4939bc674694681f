"""The deterministic loop: asyncio works on it as it is, the outside world does not, and abandoned code leaves nothing behind."""

import asyncio
import contextlib
import contextvars
import gc
import logging
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import Any

import pytest

from aiki.journal import DeterministicLoop, RunEvicted
from aiki.journal import loop as loop_module
from aiki.types.errors import DurableLoopError, WorkflowStuck
from tests.unit.journal.rig import Rig

T0 = 1000.0
Main = Callable[[], Coroutine[Any, Any, Any]]


def finish(main: Main, *, until: float = T0 + 1000) -> Any:
    """Run `main` on a loop of its own, whose clock goes from T0 to `until`."""
    loop = DeterministicLoop.new()
    loop.advance(T0)
    task = loop.create_task(main())
    loop.drain()
    loop.advance(until)
    assert task.done(), "it still waits"
    return task.result()


def now() -> float:
    return asyncio.get_running_loop().time() - T0


async def after(delay: float, value: Any = None) -> Any:
    await asyncio.sleep(delay)
    return value if value is not None else delay


async def fails(delay: float) -> None:
    await asyncio.sleep(delay)
    raise ValueError(f"after {delay}")


# -- asyncio as it is


def test_gather() -> None:
    async def main() -> Any:
        return await asyncio.gather(after(3), after(1), after(2)), now()

    assert finish(main) == ([3, 1, 2], 3)


def test_gather_with_a_failure() -> None:
    async def main() -> Any:
        results = await asyncio.gather(after(3), fails(1), return_exceptions=True)
        with pytest.raises(ValueError, match="after 1"):
            await asyncio.gather(after(3), fails(1))
        return results[0], str(results[1]), now()

    assert finish(main) == (3, "after 1", 4)


def test_task_group() -> None:
    async def main() -> Any:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(after(delay)) for delay in (2, 1)]
        return [task.result() for task in tasks], now()

    assert finish(main) == ([2, 1], 2)


def test_a_failing_task_group_cancels_the_others_in_order() -> None:
    cancelled: list[int] = []

    async def sibling(number: int) -> None:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            cancelled.append(number)
            raise

    async def main() -> Any:
        failures: list[str] = []
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(20):
                    group.create_task(sibling(number))
                group.create_task(fails(1))
        except* ValueError as errors:
            failures = [str(error) for error in errors.exceptions]
        return failures, now()

    assert finish(main) == (["after 1"], 1)
    assert cancelled == list(range(20))


def test_timeout() -> None:
    async def main() -> Any:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.sleep(10)
        async with asyncio.timeout(5):
            await asyncio.sleep(1)
        async with asyncio.timeout(None) as limit:
            limit.reschedule(asyncio.get_running_loop().time() + 7)
            await asyncio.sleep(6)
        return now()

    assert finish(main) == 12


def test_timeout_at() -> None:
    async def main() -> Any:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout_at(T0 + 5):
                await asyncio.sleep(10)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout_at(T0 - 5):
                await asyncio.sleep(1)
        return now()

    assert finish(main) == 5


def test_nested_timeouts() -> None:
    async def main() -> Any:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                async with asyncio.timeout(10):
                    await asyncio.sleep(20)
        return now()

    assert finish(main) == 5


def test_wait_first_completed() -> None:
    async def main() -> Any:
        tasks = [asyncio.create_task(after(delay)) for delay in (3, 1, 2)]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        rest = await asyncio.wait(pending, timeout=1.5)
        return [task.result() for task in done], len(pending), [len(part) for part in rest], now()

    assert finish(main) == ([1], 2, [1, 1], 2.5)


def test_the_sets_that_wait_returns_iterate_in_one_order() -> None:
    async def main() -> Any:
        tasks = [asyncio.create_task(after(1, number)) for number in range(50)]
        done, _ = await asyncio.wait(tasks)
        return [task.result() for task in done]

    orders = {tuple(finish(main)) for _ in range(5)}
    assert len(orders) == 1


def test_wait_for() -> None:
    async def main() -> Any:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(after(10), 5)
        return await asyncio.wait_for(after(1), 5), now()

    assert finish(main) == (1, 6)


def test_as_completed() -> None:
    async def main() -> Any:
        tasks = [asyncio.create_task(after(delay)) for delay in (3, 1, 2)]
        return [await each for each in asyncio.as_completed(tasks)]

    assert finish(main) == [1, 2, 3]


def test_as_completed_of_coroutines_is_refused_since_their_order_is_the_process_own() -> None:
    coroutines = [after(3), after(1)]

    async def main() -> Any:
        return [await each for each in asyncio.as_completed(coroutines)]

    with pytest.raises(DurableLoopError, match="create_task"):
        finish(main)
    for coroutine in coroutines:
        coroutine.close()


def test_sleep() -> None:
    async def main() -> Any:
        await asyncio.sleep(0)
        await asyncio.sleep(-1)
        instants = [now()]
        for delay in (0.001, 1, 60):
            await asyncio.sleep(delay)
            instants.append(now())
        return instants

    assert finish(main) == pytest.approx([0, 0.001, 1.001, 61.001])


def test_event_queue_lock_semaphore_condition_barrier() -> None:
    log: list[Any] = []

    async def producer(queue: "asyncio.Queue[int]") -> None:
        for item in range(5):
            await queue.put(item)
            await asyncio.sleep(1)

    async def consumer(queue: "asyncio.Queue[int]", name: str) -> None:
        while True:
            log.append((name, await queue.get()))
            queue.task_done()

    async def guarded(lock: Any, name: str) -> None:
        async with lock:
            log.append((name, now()))
            await asyncio.sleep(1)

    async def main() -> Any:
        queue: asyncio.Queue[int] = asyncio.Queue(maxsize=1)
        consumers = [asyncio.create_task(consumer(queue, name)) for name in "xy"]
        await producer(queue)
        await queue.join()
        for task in consumers:
            task.cancel()
        await asyncio.gather(*consumers, return_exceptions=True)
        assert [item for _, item in log] == list(range(5))
        log.clear()

        await asyncio.gather(*(guarded(asyncio.Lock(), "free") for _ in range(2)), *[])
        lock, semaphore = asyncio.Lock(), asyncio.Semaphore(2)
        begun = now()
        await asyncio.gather(*(guarded(lock, "lock") for _ in range(3)), *(guarded(semaphore, "semaphore") for _ in range(3)))
        assert [instant - begun for name, instant in log if name == "lock"] == [0, 1, 2]
        assert [instant - begun for name, instant in log if name == "semaphore"] == [0, 0, 1]
        log.clear()

        condition, event, barrier = asyncio.Condition(), asyncio.Event(), asyncio.Barrier(3)

        async def waits(name: int) -> None:
            async with condition:
                await condition.wait()
                log.append(name)
            await event.wait()
            await barrier.wait()
            log.append("through")

        tasks = [asyncio.create_task(waits(name)) for name in range(3)]
        await asyncio.sleep(1)
        async with condition:
            condition.notify_all()
        await asyncio.sleep(1)
        assert log == [0, 1, 2]
        event.set()
        await asyncio.gather(*tasks)
        return log

    assert finish(main) == [0, 1, 2, "through", "through", "through"]


def test_shield() -> None:
    async def main() -> Any:
        inner = asyncio.create_task(after(5))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await asyncio.shield(inner)
        return await inner, now()

    assert finish(main) == (5, 5)


def test_cancellation() -> None:
    async def stubborn() -> str:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError as error:
            await asyncio.sleep(1)
            return str(error)
        return "slept"

    async def main() -> Any:
        task = asyncio.create_task(stubborn())
        await asyncio.sleep(1)
        assert task.cancel("enough") and task.cancelling() == 1
        plain = asyncio.create_task(after(100))
        await asyncio.sleep(0)
        plain.cancel()
        with pytest.raises(asyncio.CancelledError):
            await plain
        return await task, now()

    assert finish(main) == ("enough", 2)


def test_nested_tasks_and_their_names() -> None:
    async def leaf() -> str | None:
        task = asyncio.current_task()
        return task.get_name() if task else None

    async def branch() -> Any:
        return await asyncio.gather(asyncio.create_task(leaf()), asyncio.create_task(leaf(), name="mine"))

    async def main() -> Any:
        return await asyncio.gather(branch(), branch())

    assert finish(main) == finish(main) == [["task-4", "mine"], ["task-6", "mine"]]


def test_contextvars() -> None:
    variable = contextvars.ContextVar("variable", default="unset")

    async def child(value: str) -> str:
        before = variable.get()
        variable.set(value)
        await asyncio.sleep(1)
        return f"{before}, {variable.get()}"

    async def main() -> Any:
        variable.set("main")
        both = await asyncio.gather(child("a"), child("b"))
        context = contextvars.copy_context()
        await asyncio.create_task(child("c"), context=context)
        return both, variable.get(), context[variable]

    assert finish(main) == (["main, a", "main, b"], "main", "c")
    assert variable.get() == "unset"


def test_async_generators() -> None:
    async def numbers() -> AsyncIterator[int]:
        for number in range(3):
            await asyncio.sleep(1)
            yield number

    async def main() -> Any:
        return [number async for number in numbers()], [number * 2 async for number in numbers() if number], now()

    assert finish(main) == ([0, 1, 2], [2, 4], 6)


def test_call_soon_call_later_and_call_at() -> None:
    async def main() -> Any:
        loop = asyncio.get_running_loop()
        log: list[str] = []
        loop.call_at(T0 + 2, log.append, "at")
        loop.call_later(1, log.append, "later")
        loop.call_soon(log.append, "soon")
        loop.call_later(1.5, log.append, "never").cancel()
        loop.call_soon(log.append, "never").cancel()
        await asyncio.sleep(3)
        return log

    assert finish(main) == ["soon", "later", "at"]


def test_timers_of_one_instant_fire_in_the_order_in_which_they_were_set() -> None:
    async def main() -> Any:
        log: list[int] = []
        for number in range(50):
            asyncio.get_running_loop().call_at(T0 + 1, log.append, number)
        await asyncio.sleep(2)
        return log

    assert finish(main) == list(range(50))


def test_late_timers_see_the_instant_at_which_they_were_due() -> None:
    async def main() -> Any:
        instants = []
        for _ in range(3):
            await asyncio.sleep(10)
            instants.append(now())
        return instants

    assert finish(main, until=T0 + 500) == [10, 20, 30]


def test_the_clock_never_goes_back() -> None:
    loop = DeterministicLoop.new()
    loop.advance(T0)
    loop.advance(T0 - 10)
    assert loop.time() == T0


# -- what needs the outside world

OUTSIDE: dict[str, Callable[[asyncio.AbstractEventLoop], Any]] = {
    "open_connection": lambda loop: asyncio.open_connection("localhost", 1),
    "start_server": lambda loop: asyncio.start_server(lambda reader, writer: None, "localhost", 0),
    "to_thread": lambda loop: asyncio.to_thread(print),
    "run_in_executor": lambda loop: loop.run_in_executor(None, print),
    "subprocess": lambda loop: asyncio.create_subprocess_exec("true"),
    "shell": lambda loop: asyncio.create_subprocess_shell("true"),
    "getaddrinfo": lambda loop: loop.getaddrinfo("localhost", 1),
    "add_reader": lambda loop: loop.add_reader(0, print),
    "add_writer": lambda loop: loop.add_writer(0, print),
    "sock_recv": lambda loop: loop.sock_recv(None, 1),  # type: ignore[arg-type]
    "add_signal_handler": lambda loop: loop.add_signal_handler(signal.SIGTERM, print),
    "call_soon_threadsafe": lambda loop: loop.call_soon_threadsafe(print),
    "set_default_executor": lambda loop: loop.set_default_executor(None),  # type: ignore[arg-type]
    "set_exception_handler": lambda loop: loop.set_exception_handler(None),
    "set_task_factory": lambda loop: loop.set_task_factory(None),
    "run_until_complete": lambda loop: loop.run_until_complete(None),  # type: ignore[arg-type]
    "run_forever": lambda loop: loop.run_forever(),
    "stop": lambda loop: loop.stop(),
    "close": lambda loop: loop.close(),
}


@pytest.mark.parametrize("what", OUTSIDE)
def test_the_outside_world_is_refused(what: str) -> None:
    async def main() -> Any:
        with pytest.raises(DurableLoopError, match=r"ctx\.step") as caught:
            answer = OUTSIDE[what](asyncio.get_running_loop())
            if isinstance(answer, Awaitable):
                await answer
        return caught.value.call

    assert finish(main)


def test_every_public_method_of_a_loop_is_answered() -> None:
    for name in dir(asyncio.AbstractEventLoop):
        if not name.startswith("_"):
            assert getattr(DeterministicLoop, name) is not getattr(asyncio.AbstractEventLoop, name), name


# -- code that does not end


@pytest.fixture
def few_callbacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_module, "MAX_CALLBACKS", 1000)


@pytest.mark.usefixtures("few_callbacks")
@pytest.mark.parametrize("delay", [0, 1e-12])
def test_code_that_spins_is_stuck(delay: float) -> None:
    async def main() -> Any:
        while True:  # noqa: ASYNC110
            await asyncio.sleep(delay)

    loop = DeterministicLoop.new()
    loop.advance(1.7e9)
    _ = loop.create_task(main())
    with pytest.raises(WorkflowStuck, match=r"again and again|spin"):
        loop.drain()
        loop.advance(1.7e9 + 1)
    assert asyncio._get_running_loop() is None
    loop.dispose()


@pytest.mark.usefixtures("few_callbacks")
def test_much_work_that_ends_is_no_spin() -> None:
    async def main() -> Any:
        for _ in range(400):
            await asyncio.sleep(0)
        return "done"

    assert finish(main) == "done"


def test_a_sleep_for_ever_is_no_timer() -> None:
    async def main() -> Any:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.sleep(float("inf")), 5)
        return now()

    assert finish(main) == 5


@pytest.mark.parametrize("delay", [float("nan"), 4e9, 1e300])
def test_a_timer_that_is_no_instant_is_refused(delay: float) -> None:
    async def main() -> Any:
        with pytest.raises((DurableLoopError, ValueError)):
            await asyncio.sleep(delay)
        await asyncio.sleep(1)
        return now()

    assert finish(main) == 1


def test_sys_exit_ends_its_task_and_not_the_worker() -> None:
    async def child() -> None:
        await asyncio.sleep(1)
        sys.exit(3)

    loop = DeterministicLoop.new()
    task, other = loop.create_task(child()), loop.create_task(after(2))
    loop.drain()
    loop.advance(10)
    assert isinstance(task.exception(), SystemExit)
    assert other.result() == 2


def test_a_keyboard_interrupt_goes_through_and_leaves_the_thread_clean() -> None:
    async def main() -> None:
        raise KeyboardInterrupt

    loop = DeterministicLoop.new()
    task = loop.create_task(main())
    with pytest.raises(KeyboardInterrupt):
        loop.drain()
    assert asyncio._get_running_loop() is None
    assert isinstance(task.exception(), KeyboardInterrupt)


# -- within another loop


def test_a_turn_inside_a_running_task() -> None:
    async def host() -> Any:
        mine = asyncio.current_task()
        hooks = sys.get_asyncgen_hooks()
        result = finish(lambda: after(5))
        assert asyncio.current_task() is mine
        assert sys.get_asyncgen_hooks() == hooks
        await asyncio.sleep(0)
        return result

    assert asyncio.run(host()) == 5


def test_a_turn_from_a_callback() -> None:
    async def host() -> Any:
        outer = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = outer.create_future()
        outer.call_soon(lambda: answer.set_result(finish(lambda: after(5))))
        return await answer

    assert asyncio.run(host()) == 5


def test_a_future_of_the_host_cannot_be_awaited() -> None:
    async def host() -> Any:
        foreign = asyncio.get_running_loop().create_future()

        async def main() -> Any:
            await foreign

        with pytest.raises(RuntimeError, match="different loop"):
            finish(main)

    asyncio.run(host())


def test_code_cannot_start_a_loop_of_its_own() -> None:
    async def main() -> Any:
        inner = after(1)
        with pytest.raises(RuntimeError, match="running event loop"):
            asyncio.run(inner)
        inner.close()

    finish(main)


# -- abandoned code


@pytest.fixture(autouse=True)
def silence(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is logged as a warning, and nothing is raised where nobody sees it."""
    unraisable: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    gc.collect()  # what other tests have left behind in this process speaks before this one listens
    caplog.clear()
    caplog.set_level(logging.WARNING)
    yield
    gc.collect()
    assert unraisable == []
    stubborn = "does not let itself be closed"
    assert [record.getMessage() for record in caplog.records if stubborn not in record.getMessage()] == []


def abandon(main: Main, *, inside: bool = False) -> DeterministicLoop:
    """Run `main` until it waits, then dispose of it, from plain code or inside a running loop."""
    loop = DeterministicLoop.new()
    _ = loop.create_task(main())
    loop.drain()
    if inside:

        async def host() -> int:
            loop.dispose()
            gc.collect()
            await asyncio.sleep(0)
            return len(asyncio.all_tasks())

        assert asyncio.run(host()) == 1, "abandoned code has put a task on the host's loop"
    else:
        loop.dispose()
    gc.collect()
    return loop


@pytest.mark.parametrize("inside", [False, True])
def test_clean_up_that_awaits_ends_at_its_first_await(inside: bool) -> None:
    effects: list[str] = []

    async def main() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(1)
            effects.append("after the await")

    abandon(main, inside=inside)
    assert effects == []


@pytest.mark.parametrize("inside", [False, True])
def test_clean_up_cannot_begin_anything(inside: bool) -> None:
    effects: list[str] = []

    async def effect() -> None:
        effects.append("ran")

    async def with_task() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.create_task(effect())

    async def with_gather() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.gather(effect())

    async def with_callback() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            asyncio.get_running_loop().call_soon(effects.append, "called")
            asyncio.get_running_loop().call_later(0, effects.append, "called")

    async def with_yield() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(0)
            await asyncio.create_task(effect())

    for main in (with_task, with_gather, with_callback, with_yield):
        abandon(main, inside=inside)
    assert effects == []


@pytest.mark.parametrize("inside", [False, True])
def test_code_that_catches_everything_is_left_in_peace(inside: bool) -> None:
    async def awaits() -> None:
        while True:
            with contextlib.suppress(BaseException):
                await asyncio.sleep(1)

    async def yields() -> None:
        while True:
            try:
                await asyncio.sleep(0)
                await asyncio.get_running_loop().create_future()
            except BaseException:
                pass

    async def begins() -> None:
        while True:
            with contextlib.suppress(BaseException):
                await asyncio.create_task(after(1))

    for main in (awaits, yields, begins):
        abandon(main, inside=inside)


def test_code_that_catches_everything_once_ends() -> None:
    seen: list[str] = []

    async def main() -> None:
        try:
            await asyncio.sleep(100)
        except BaseException as error:
            seen.append(type(error).__name__)
            try:
                await asyncio.sleep(1)
            except BaseException as second:
                seen.append(type(second).__name__)

    abandon(main)
    assert seen == ["GeneratorExit", "RunEvicted"]


def test_all_kinds_of_waiting_are_abandoned_without_noise() -> None:
    async def group() -> None:
        async with asyncio.TaskGroup() as tasks:
            for delay in range(5):
                tasks.create_task(after(delay + 100))
            tasks.create_task(nested())

    async def nested() -> None:
        async with asyncio.timeout(1000):
            await asyncio.gather(after(100), asyncio.shield(after(200)))

    async def locks() -> None:
        lock, condition = asyncio.Lock(), asyncio.Condition()

        async def waits() -> None:
            async with lock:
                await asyncio.sleep(100)

        async def notified() -> None:
            async with condition:
                await condition.wait()

        await asyncio.gather(waits(), waits(), notified(), asyncio.Queue[int]().get(), asyncio.Event().wait())

    async def waits() -> None:
        tasks = [asyncio.create_task(after(100)) for _ in range(3)]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)

    async def failed_before() -> None:
        task = asyncio.create_task(fails(0))
        await asyncio.sleep(100)
        await task

    for main in (group, nested, locks, waits, failed_before):
        abandon(main)
        abandon(main, inside=True)


@pytest.mark.parametrize("inside", [False, True])
def test_async_generators_of_abandoned_code_run_no_clean_up(inside: bool) -> None:
    effects: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        finally:
            effects.append("cleaned up")

    async def main() -> None:
        async for _ in numbers():
            await asyncio.sleep(100)

    def begin() -> DeterministicLoop:
        loop = DeterministicLoop.new()
        _ = loop.create_task(main())
        loop.drain()
        return loop

    async def host() -> None:
        begin().dispose()
        gc.collect()
        await asyncio.sleep(0)

    if inside:
        asyncio.run(host())
    else:
        begin().dispose()
        gc.collect()
    assert effects == []


def test_an_async_generator_that_is_left_runs_nothing_behind_the_code_s_back() -> None:
    effects: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            effects.append("cleaned up")

    async def main() -> None:
        async for _ in numbers():
            break
        gc.collect()
        await asyncio.sleep(1)

    async def host() -> None:
        finish(main)
        await asyncio.sleep(0)

    asyncio.run(host())
    assert effects == []


def test_a_closed_loop_refuses() -> None:
    loop = abandon(lambda: after(1))
    assert loop.is_closed()
    with pytest.raises(RunEvicted):
        _ = loop.create_future()
    with pytest.raises(RunEvicted):
        loop.call_later(1, print)


def test_errors_that_nobody_retrieves_are_logged_while_the_run_lives(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        _ = asyncio.create_task(fails(1))
        del _
        await asyncio.sleep(2)
        gc.collect()

    finish(main)
    assert "never retrieved" in caplog.text
    caplog.clear()


def test_runs_do_not_slow_each_other_down() -> None:
    """asyncio keeps all tasks of the process in one set: their hashes must differ between runs."""
    first, second = (Rig(lambda run: run.call("a"), run_id=run_id).machine for run_id in ("run-1", "run-2"))
    assert {hash(task) for task in asyncio.all_tasks(first.loop)}.isdisjoint(hash(task) for task in asyncio.all_tasks(second.loop))
    first.evict()
    second.evict()
