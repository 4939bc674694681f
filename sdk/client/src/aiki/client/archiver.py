"""The archiver: writes runs that have ended to files, and only then lets them expire."""

import asyncio
import contextlib
import logging
import secrets
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import msgspec

from aiki.actors import history, topology
from aiki.archive import Archive, ArchivedRun
from aiki.client.client import Client
from aiki.journal import RunState, decode_state, encode_state
from aiki.transport.port import Consumption, Delivery
from aiki.types.duration import Duration, seconds
from aiki.types.errors import AikiError, CodecError, Conflict, DefinitionError
from aiki.types.states import is_final
from aiki.types.subjects import ARCHIVE_CONSUMER

__all__ = ["Archiver"]

BATCH = 64
"""Runs that are written together: one wait for the disk."""
TRY_AGAIN = 5.0
"""Seconds after which a run comes again that could not be archived."""
LEAST_TTL = 60.0
"""Seconds for which a run stays after it was archived, however short its retention: should the archiver die before it has told the
journal's segments to expire too, the next one must still find the run."""

_log = logging.getLogger("aiki.archive")


class _Found(NamedTuple):
    """A run that waits for its archive, at this revision."""

    state: RunState
    revision: int
    record: ArchivedRun


class Archiver:
    """Archives the runs of the client's region that are to be archived (`@workflow(archive=True)`, `Worker(archive=True)`).

    `to`: a folder (a file per region, workflow and day in it) or, ending with `.gz`, a file. `async with Archiver(client, folder):`, or
    `start` and `stop`; or `once`. Any number may go on at a time, also with the same folder. A run is written at least once, and expires
    only after that; readers of the files take each end of a run once.
    """

    def __init__(self, client: Client, to: Path | str) -> None:
        self._client = client
        self._archive = Archive(_path(to))
        self._waiting: asyncio.Queue[Delivery] = asyncio.Queue()
        self._open: set[Delivery] = set()
        self._consumption: Consumption | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.archived = 0
        """Runs so far."""

    async def start(self) -> None:
        """Begin to serve. Raises `StreamMissing`, which names `aiki init`."""
        if self._tasks:
            raise DefinitionError("this archiver was started already; make a new one", where="archiver")
        client = self._client
        await topology.check(client.transport, client.subjects)
        stream = client.subjects.mail_stream
        await client.transport.ensure_consumer(topology.consumer(stream, ARCHIVE_CONSUMER, client.subjects.archive_mail))
        self._tasks = [asyncio.create_task(self._serve()), asyncio.create_task(self._keep_alive())]
        self._consumption = await client.transport.consume(stream, ARCHIVE_CONSUMER, self._take, window=2 * BATCH)

    async def stop(self, grace: Duration = 10.0) -> None:
        """Take nothing new, give what is being written `grace` to end, and leave the rest to others."""
        limit = seconds(grace, "grace")
        if self._consumption is not None:
            await self._consumption.stop()
        while not self._waiting.empty():
            self._settle(self._waiting.get_nowait(), done=False, delay=0.0)
            self._waiting.task_done()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await self._waiting.join()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for delivery in list(self._open):
            self._settle(delivery, done=False, delay=0.0)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.stop()

    async def once(self) -> int:
        """Archive what waits for it now; answers how many runs. Reads every run of the region. Raises `OSError` when the disk does."""
        before = self.archived
        ids = await self._client.store.ids()
        for begin in range(0, len(ids), BATCH):
            some = ids[begin : begin + BATCH]
            for run_id in await self._archive_all(some):
                # Nobody need be asked for it any more.
                subject = self._client.subjects.archive_mail + run_id
                await self._client.transport.purge(self._client.subjects.mail_stream, subject)
        return self.archived - before

    # -- the service

    def _take(self, delivery: Delivery) -> None:
        self._open.add(delivery)
        self._waiting.put_nowait(delivery)

    async def _serve(self) -> None:
        prefix = len(self._client.subjects.archive_mail)
        while True:
            batch = [await self._waiting.get()]
            while not self._waiting.empty() and len(batch) < BATCH:
                batch.append(self._waiting.get_nowait())
            done: set[str] = set()
            try:
                done = await self._archive_all([delivery.subject[prefix:] for delivery in batch])
            except (OSError, AikiError) as error:
                _log.error("%d runs could not be archived, which is tried again in %g s: %s", len(batch), TRY_AGAIN, error)
            except Exception:
                _log.exception("%d runs could not be archived, which is tried again in %g s", len(batch), TRY_AGAIN)
            for delivery in batch:
                self._settle(delivery, done=delivery.subject[prefix:] in done, delay=TRY_AGAIN)
                self._waiting.task_done()

    def _settle(self, delivery: Delivery, *, done: bool, delay: float) -> None:
        self._open.discard(delivery)
        if done:
            delivery.ack()
        else:
            delivery.nak(delay)

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(topology.ACK_WAIT / 3)
            for delivery in self._open:
                delivery.in_progress()

    # -- the work

    async def _archive_all(self, ids: list[str]) -> set[str]:
        """Write these runs to the archive, as far as they wait for it, then let them expire. Answers those that are done with.

        If we die before the files are written, nothing has happened; before the commit, the run is written once more, later; after it, and
        before the segments of its journal are told to expire, that is made up for when the message comes again.
        """
        client = self._client
        found: list[_Found] = []
        done: set[str] = set()
        for run_id, each in zip(ids, await asyncio.gather(*(self._find(run_id) for run_id in ids), return_exceptions=True), strict=True):
            if isinstance(each, _Found):
                found.append(each)
            elif each is None:
                done.add(run_id)
            elif isinstance(each, CodecError):  # left to an archiver with the key, and it holds nobody up
                _log.error("run %s cannot be archived here: %s", run_id, each)
            elif isinstance(each, AikiError) or not isinstance(each, Exception):
                raise each
            else:  # its record is damaged: it stays where it is, and holds nobody up
                _log.error("run %s cannot be archived: %s", run_id, each)
        if not found:
            return done
        await asyncio.to_thread(self._archive.add, [each.record for each in found])
        now = await client.now()
        for each, failed in zip(found, await asyncio.gather(*(self._let_go(each, now) for each in found)), strict=True):
            if not failed:
                self.archived += 1
                done.add(each.state.run_id)
        return done

    async def _find(self, run_id: str) -> _Found | None:
        client = self._client
        stored = await client.store.read(run_id)
        if stored is None or not is_final(stored.state):
            return None
        state = decode_state(stored.value)
        if not state.awaits_archive:
            if state.archival is not None and state.archival.archived_at is not None and (ttl := _ttl(state, await client.now())):
                await history.expire(client.store, state, stored.revision, ttl)
            return None
        segments = await history.segments(client.store, state)
        record = ArchivedRun.of(state, stored.value, segments, region=client.region, now=await client.now())
        return _Found(state, stored.revision, record)

    async def _let_go(self, found: _Found, now: float) -> bool:
        """The run is in the archive: it may expire. True when it has been taken up again meanwhile, or archived by somebody else."""
        state, store = found.state, self._client.store
        assert state.archival is not None
        state.archival = msgspec.structs.replace(state.archival, archived_at=now)
        state.operation = f"archiver/{secrets.token_hex(8)}"
        ttl = _ttl(state, now)
        try:
            revision = await store.commit(
                state.run_id, encode_state(state), found.revision, state=state.status, operation=state.operation, ttl=ttl
            )
        except Conflict:
            return True
        if ttl is not None:
            await history.expire(store, state, revision, ttl)
        return False


def _path(to: object) -> Path:
    if not isinstance(to, Path | str) or not str(to):
        raise DefinitionError(f"an archive is a folder or a file, not {to!r}", what="to")
    return Path(to)


def _ttl(state: RunState, now: float) -> float | None:
    """What is left of the run's retention."""
    retention = None if state.archival is None else state.archival.retention
    return None if retention is None else max(LEAST_TTL, (state.finished_at or now) + retention - now)
