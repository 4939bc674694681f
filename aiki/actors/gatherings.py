"""Gatherings in the store: a call adds to one, the host that takes up its run closes it. The compare-and-set says which came first."""

import secrets

from aiki.kv import LineStore
from aiki.lines import Gathering, decode_gathering, encode_gathering
from aiki.transport.port import Transport
from aiki.transport.surely import surely
from aiki.types.errors import Conflict
from aiki.types.subjects import Subjects

__all__ = ["FORGOTTEN_AFTER", "Gatherings"]

FORGOTTEN_AFTER = 60.0
"""Seconds after the end of its run."""


class Gatherings:
    """Those of one region. `key` is a token."""

    def __init__(self, transport: Transport, subjects: Subjects) -> None:
        self._subjects = subjects
        self._store = LineStore(transport, subjects)

    async def read(self, workflow: str, key: str) -> tuple[Gathering | None, int]:
        """The present gathering, and its revision (0: there is none)."""
        stored = (await surely(lambda: self._store.read(self._subjects.gathering_key(workflow, key)))).answer
        return (None, 0) if stored is None else (decode_gathering(stored.value), stored.revision)

    async def write(self, key: str, gathering: Gathering, revision: int, *, ttl: float | None = None) -> None:
        """Raises `Conflict`."""
        name = self._subjects.gathering_key(gathering.workflow, key)
        await self._store.commit(name, encode_gathering(gathering), revision, state="", operation=secrets.token_hex(8), ttl=ttl)

    async def close(self, workflow: str, key: str, run_id: str, now: float) -> float | bytes | None:
        """Its run has come to its instant: when it is to come again, or its payload; None when nothing is known: it keeps its own."""
        while True:
            gathering, revision = await self.read(workflow, key)
            if gathering is None:
                return None
            if gathering.run_id != run_id:
                return gathering.earlier.get(run_id)
            if gathering.closed:
                return gathering.payload
            if gathering.due > now:
                return gathering.due
            gathering.closed = True
            try:
                await self.write(key, gathering, revision)
            except Conflict:
                continue
            return gathering.payload

    async def forget(self, workflow: str, key: str, run_id: str) -> None:
        """Its run has ended: if no other call has come, nobody needs it any more."""
        gathering, revision = await self.read(workflow, key)
        if gathering is not None and gathering.run_id == run_id and gathering.closed and not gathering.earlier:
            try:
                await self.write(key, gathering, revision, ttl=FORGOTTEN_AFTER)
            except Conflict:
                return  # one has come
