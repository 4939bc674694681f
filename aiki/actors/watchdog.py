"""Finds workflow code that blocks the loop: code that computes or waits for long without giving way stops every run on its host."""

import logging
import sys
import threading
import time
import traceback

__all__ = ["Watchdog"]

LIMIT = 1.0
"""Seconds that a turn's code may take before it is reported."""

_log = logging.getLogger("aiki.workflow")


class Watchdog:
    """A thread that looks, a few times a second, how long the present turn has taken."""

    def __init__(self, limit: float = LIMIT) -> None:
        self._limit = limit
        self._since = 0.0
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

    def _watch(self) -> None:
        reported = 0.0
        while not self._stopped.wait(self._limit / 2):
            since = self._since
            if since and since != reported and time.monotonic() - since > self._limit:
                reported = since
                frame = sys._current_frames().get(self._thread_id)
                stack = "".join(traceback.format_stack(frame)) if frame is not None else ""
                _log.warning(
                    "workflow code of run %s has blocked the loop for over %.1f s, and with it every run on this worker. "
                    "Move long computations and blocking calls into a task. It stands here:\n%s",
                    self._run_id,
                    self._limit,
                    stack,
                )
