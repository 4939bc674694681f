"""How a service of the command line learns that it should stop."""

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["stop_signal"]


@contextmanager
def stop_signal() -> Iterator[asyncio.Event]:
    """An event that SIGTERM or SIGINT sets. Only the first: a second signal has its usual effect, for those who will not wait."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT)
    stopped = asyncio.Event()

    def release() -> None:
        for number in numbers:
            loop.remove_signal_handler(number)

    def on_signal() -> None:
        release()
        stopped.set()

    for number in numbers:
        with contextlib.suppress(NotImplementedError):  # Windows
            loop.add_signal_handler(number, on_signal)
    try:
        yield stopped
    finally:
        with contextlib.suppress(NotImplementedError):
            release()
