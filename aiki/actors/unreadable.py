"""Messages and runs that this worker lacks the key for: they are held where everybody can see it, and left to whoever has the key.

A message that cannot be read is refused for a while: it is neither lost nor counted against the run. If the process dies before the run is
marked, the message is delivered again, here or elsewhere.
"""

import asyncio
import logging

from aiki.kv import RunStore
from aiki.sealing import held_run, held_start
from aiki.types.errors import CodecError, Conflict, TransportError
from aiki.types.states import is_final

__all__ = ["LEFT_FOR", "Unreadable"]

LEFT_FOR = 10.0
"""Seconds after which what cannot be read here is offered again, to whoever asks."""

_log = logging.getLogger("aiki.actors")


class Unreadable:
    """What one host cannot read. `operation` names its commits."""

    def __init__(self, store: RunStore, worker_id: str, operation: str) -> None:
        self._store = store
        self._worker = worker_id
        self._operation = operation
        self._count = 0
        self._told: set[str] = set()
        """The keys whose want was logged: once each is enough."""
        self._marking: set[asyncio.Task[None]] = set()

    def mark(self, run_id: str, error: CodecError, now: float, start: tuple[str, bytes] | None = None) -> None:
        """Mark a run as held, without waiting. `start`: the subject and the sealed bytes of the message, if it may be its start."""
        key = str(error.fields.get("key", ""))
        level = logging.DEBUG if key in self._told else logging.ERROR
        self._told.add(key)
        _log.log(level, "run %s cannot be read here: %s; its messages are offered again each %g s", run_id, error, LEFT_FOR)
        task = asyncio.create_task(self._mark(run_id, error, now, start))
        self._marking.add(task)
        task.add_done_callback(self._marking.discard)

    async def _mark(self, run_id: str, error: CodecError, now: float, start: tuple[str, bytes] | None) -> None:
        try:
            await self.hold(run_id, error, now, start)
        except (Conflict, CodecError):
            pass  # somebody goes on with it, or what is stored was tampered with as well
        except TransportError as failure:
            _log.warning("run %s could not be marked as held: %s", run_id, failure)

    async def hold(self, run_id: str, error: CodecError, now: float, start: tuple[str, bytes] | None = None) -> None:
        """Mark a run as held, whoever wrote it last, unless it is or has ended. `Conflict` when somebody else goes ahead."""
        stored = await self._store.read(run_id)
        if stored is not None and not is_final(stored.state):
            value = held_run(stored.value, self._store.place(run_id), error, self._worker, now)
        elif stored is None and start is not None:
            value = held_start(start[1], start[0], error, self._worker, now)
        else:
            return
        if value is not None:
            self._count += 1
            operation = f"{self._operation}.held.{self._count}"
            await self._store.commit(run_id, value, 0 if stored is None else stored.revision, state="stalled", operation=operation)

    def stop(self) -> None:
        """Leave the rest to others."""
        for task in self._marking:
            task.cancel()
