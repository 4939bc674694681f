"""Bodies that are plain functions run in a thread each.

Not in asyncio's pool: that has few threads (six on two cores), so bodies that block would stop all others long before the worker's own
limit, and it holds the process at its end until the last of them is done.
"""

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["run_in_thread"]

Value = TypeVar("Value")


async def run_in_thread(function: Callable[..., Value], *arguments: Any) -> Value:
    """Call a function in a daemon thread of its own, in a copy of the present context. Cancelling the caller leaves the thread alone."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()
    context = contextvars.copy_context()

    def settle(value: Any, error: BaseException | None) -> None:
        if not ended.done():
            ended.set_result((value, error))

    def work() -> None:
        value, error = None, None
        try:
            value = context.run(function, *arguments)
        except BaseException as raised:
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle, value, error)

    threading.Thread(target=work, name=f"aiki-{getattr(function, '__name__', 'body')}", daemon=True).start()
    value, error = await ended
    try:
        if isinstance(error, KeyboardInterrupt | GeneratorExit):
            # No signal interrupts a thread that is not the main one: the code has raised it itself.
            raise RuntimeError(f"the body raised {type(error).__name__}") from error
        if error is not None:
            raise error
        return value  # type: ignore[no-any-return]
    finally:
        del error
