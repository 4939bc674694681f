"""Finds code that blocks the loop: what computes or waits for long without giving way stops everything on its worker.

Workflow code is told apart by its run; other code (an `async def` task that makes a blocking call) is noticed because the host's pulse is
missing.
"""

import logging
import sys
import threading
import time
import traceback

__all__ = ["Watchdog"]

LIMIT = 1.0
"""Seconds that a turn's code may take before it is reported."""
PULSE = 1.0
"""Seconds within which a healthy host calls `beat`."""

_log = logging.getLogger("aiki.workflow")


class Watchdog:
    """A thread that looks, a few times a second, how long the present turn has taken."""

    def __init__(self, limit: float = LIMIT) -> None:
        self._limit = limit
        self._since = 0.0
        self._pulse = 0.0
        self._run_id = ""
        self._thread_id = 0
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Watch the calling thread."""
        self._thread_id = threading.get_ident()
        self._thread = threading.Thread(target=self._watch, name="aiki-watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop watching."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def enter(self, run_id: str) -> None:
        """Code of a run begins to run."""
        self._run_id = run_id
        self._since = time.monotonic()

    def leave(self) -> None:
        """It has given way."""
        self._since = 0.0

    def beat(self) -> None:
        """The loop is alive."""
        self._pulse = time.monotonic()

    def rest(self) -> None:
        """There is no work: no pulse is expected until the next `beat`."""
        self._pulse = 0.0

    def _watch(self) -> None:
        reported = 0.0
        while not self._stopped.wait(self._limit / 2):
            now = time.monotonic()
            since, pulse = self._since, self._pulse
            if since and since != reported and now - since > self._limit:
                reported = since
                self._warn(f"workflow code of run {self._run_id}", self._limit)
            elif not since and pulse and pulse != reported and now - pulse > PULSE + self._limit:
                reported = pulse
                self._warn("code outside of workflows (an async task or step that makes a blocking call?)", now - pulse - PULSE)

    def _warn(self, who: str, seconds: float) -> None:
        frame = sys._current_frames().get(self._thread_id)
        stack = "".join(traceback.format_stack(frame)) if frame is not None else ""
        _log.warning(
            "%s has blocked the loop for over %.1f s, and with it everything on this worker. "
            "Move long computations and blocking calls into a plain `def` task, which runs in a thread. It stands here:\n%s",
            who,
            seconds,
            stack,
        )
