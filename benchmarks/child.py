"""A child process in a session of its own, so that a SIGKILL takes its whole tree and nothing else."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

__all__ = ["Child", "ChildDied"]

ROOT = Path(__file__).resolve().parent.parent


class ChildDied(Exception):
    """A child failed, or ended before it was ready; the message ends with its last output."""


class Child:
    """A running process; its output goes to a log file next to its store.

    `owner` is the user it runs as, for servers that refuse to run as root.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        folder: Path,
        *,
        environment: Mapping[str, str] | None = None,
        owner: str | None = None,
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": path, **(environment or {})},
                cwd=folder,
                user=owner,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    async def until(self, condition: Callable[[], bool], timeout: float = 30.0) -> None:
        """Wait until `condition` holds; `ChildDied` when the process ends or the time is over."""
        deadline = asyncio.get_running_loop().time() + timeout
        while not condition():
            if self._process.poll() is not None or asyncio.get_running_loop().time() > deadline:
                raise ChildDied(f"{self.name} did not get ready: {self._last_words()}")
            await asyncio.sleep(0.02)

    async def success(self) -> None:
        """Wait for its end; `ChildDied` when it failed."""
        if await asyncio.to_thread(self._process.wait):
            raise ChildDied(f"{self.name} failed: {self._last_words()}")

    def kill(self) -> None:
        """SIGKILL, to the whole tree."""
        self._signal(signal.SIGKILL)
        self._process.wait()

    async def stop(self, grace: float = 5.0, sign: signal.Signals = signal.SIGTERM) -> None:
        """Ask, then kill."""
        self._signal(sign)
        with suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(self._process.wait, grace)
        self.kill()

    def _last_words(self) -> str:
        return self.log.read_text(errors="replace")[-800:].strip()

    def _signal(self, sign: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, sign)
