"""Versions of workflows that are retired: they take no new runs, and those that there are go on.

A mark per version in the workers' bucket. Whoever starts runs reads the marks, and remembers them for some seconds: a start within that
time of a retirement may still be taken.
"""

import asyncio
import contextlib

import msgspec

from aiki.transport.port import Transport
from aiki.transport.surely import surely
from aiki.types.errors import NotConnected, TransportError, VersionRetired
from aiki.types.names import from_token
from aiki.types.subjects import Subjects

__all__ = ["REMEMBERED", "RetiredMark", "RetiredVersions", "read_all", "retire", "unretire"]

REMEMBERED = 5.0
"""Seconds for which it is remembered which versions are retired."""


class RetiredMark(msgspec.Struct, frozen=True, kw_only=True):
    """A version was retired, at an instant in seconds since the epoch."""

    workflow: str
    version: str
    retired_at: float
    reason: str = ""


_decode = msgspec.json.Decoder(RetiredMark).decode


async def retire(transport: Transport, subjects: Subjects, mark: RetiredMark) -> None:
    """Write the mark."""
    key, data = subjects.version_mark(mark.workflow, mark.version), msgspec.json.encode(mark)
    await surely(lambda: transport.publish(key, data))


async def unretire(transport: Transport, subjects: Subjects, workflow: str, version: str) -> None:
    """Take the mark away."""
    await transport.purge(subjects.workers_stream, subjects.version_mark(workflow, version))


async def read_all(transport: Transport, subjects: Subjects) -> list[RetiredMark]:
    """All marks, by workflow and version."""
    keys = await transport.subjects(subjects.workers_stream, subjects.version_mark_prefix + "*.*")
    found = await asyncio.gather(*(transport.last(subjects.workers_stream, key) for key in keys))
    return sorted((_decode(stored.data) for stored in found if stored is not None), key=lambda mark: (mark.workflow, mark.version))


class RetiredVersions:
    """The marks of one region, as they were within the last seconds. Without an answer, nothing is known to be retired."""

    def __init__(self, transport: Transport, subjects: Subjects) -> None:
        self._transport = transport
        self._subjects = subjects
        self._until = float("-inf")
        self._known: frozenset[tuple[str, str]] = frozenset()
        self._reading: asyncio.Task[None] | None = None

    async def check(self, workflow: str, version: str) -> None:
        """`VersionRetired` when that version takes no new runs."""
        if await self.has(workflow, version):
            stored = None
            with contextlib.suppress(TransportError):
                stored = await self._transport.last(self._subjects.workers_stream, self._subjects.version_mark(workflow, version))
            reason = "" if stored is None else _decode(stored.data).reason
            raise VersionRetired(
                f"version {version!r} of workflow {workflow!r} was retired{f' ({reason})' if reason else ''}: it takes no new runs; "
                f"`aiki workflow unretire {workflow} {version}` lets it take them again",
                workflow=workflow,
                version=version,
                reason=reason,
            )

    async def has(self, workflow: str, version: str) -> bool:
        """Whether that version is retired."""
        if self._until <= asyncio.get_running_loop().time():
            if self._reading is None or self._reading.done():
                self._reading = asyncio.ensure_future(self._read())
            await asyncio.shield(self._reading)
        return (workflow, version) in self._known

    def forget(self) -> None:
        """Read again when asked next."""
        self._until = float("-inf")

    async def _read(self) -> None:
        prefix = self._subjects.version_mark_prefix
        try:
            keys = await self._transport.subjects(self._subjects.workers_stream, prefix + "*.*")
        except NotConnected:
            raise
        except TransportError:
            return
        pairs = (key.removeprefix(prefix).split(".") for key in keys)
        self._known = frozenset((from_token(workflow), from_token(version)) for workflow, version in pairs)
        self._until = asyncio.get_running_loop().time() + REMEMBERED
