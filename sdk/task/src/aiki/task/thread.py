"""Bodies that are plain functions run in a thread each.

Not in asyncio's pool: that has few threads (six on two cores), so bodies that block would stop all others long before the worker's own
limit, and it holds the process at its end until the last of them is done.
"""

import asyncio
import concurrent.futures
import contextvars
import threading
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["run_in_thread"]

Value = TypeVar("Value")


class _ThreadPerCall(concurrent.futures.Executor):
    """An executor, so that a loop which counts its threads (virtual time does) knows of them."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "concurrent.futures.Future[Any]":
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        future.set_running_or_notify_cancel()  # from here on it cannot be cancelled

        def work() -> None:
            future.set_result(function(*args, **kwargs))

        threading.Thread(target=work, name="aiki-body", daemon=True).start()
        return future


_executor = _ThreadPerCall()


async def run_in_thread(function: Callable[..., Value], *arguments: Any) -> Value:
    """Call a function in a daemon thread of its own, in a copy of the present context. Cancelling the caller leaves the thread alone."""
    context = contextvars.copy_context()

    def work() -> tuple[Any, BaseException | None]:
        try:
            return context.run(function, *arguments), None
        except BaseException as raised:
            return None, raised

    value, error = await asyncio.get_running_loop().run_in_executor(_executor, work)
    try:
        if isinstance(error, KeyboardInterrupt | GeneratorExit):
            # No signal interrupts a thread that is not the main one: the code has raised it itself.
            raise RuntimeError(f"the body raised {type(error).__name__}") from error
        if error is not None:
            raise error
        return value  # type: ignore[no-any-return]
    finally:
        del error
