"""Evidence against what may kill its workers: who has taken it up, and which of them are dead.

A message that is delivered for the first time leaves none: the good path costs nothing. From the second delivery on, whoever takes it up
says so in a record, and takes that back when it is out of its hands, whatever came of it. Redeliveries prove nothing (a worker may have
stalled, stopped in good order, or lost its server): a worker counts as dead when its record is still there and NATS knows nobody who
listens on its host's address. A record is a hint like all others: to lose one costs another try.

A process that dies takes down whatever it had in hand, guilty or not. So what has `ALONE_AFTER` deaths against it is tried alone: of such
suspects a process takes up one at a time, and only that one has a record there.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence

import msgspec

from aiki.clock import Clock
from aiki.transport.port import Ack, Transport
from aiki.transport.surely import surely
from aiki.types.errors import AikiError, Conflict, NoResponders, NotConnected, OutcomeUnknown, TransportError
from aiki.types.limits import MOST_DEATHS
from aiki.types.subjects import Subjects

__all__ = ["Evidence", "Poisoned", "Taking", "Trial", "TriedElsewhere"]

MOST_IN_ALL = 20
"""The same, of something that gets further each time: a long turn may lose its worker often by no fault of its own, but not for ever."""

ALONE_AFTER = 2
KEPT = 86_400.0
"""Seconds for which a record is kept."""

PATIENCE = 1.0
"""Seconds that a host has to say that it lives. One that is merely slow is not dead: then nobody has said that there is none."""

TRIES = 5

_log = logging.getLogger("aiki.actors")


class Taking(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """A worker took something up. `host`: the address of its process; `progress`: how far it was by then."""

    host: str
    worker: str
    at: float
    progress: int = 0
    dead: bool = False


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Taking]).decode


class Poisoned(Exception):
    """So many workers have died with it in hand that it is not to be tried again."""

    def __init__(self, dead: Sequence[Taking]) -> None:
        super().__init__(f"{len(dead)} workers have died with it in hand: {', '.join(each.worker for each in dead)}")
        self.dead = dead

    @property
    def workers(self) -> tuple[str, ...]:
        """Those that have died."""
        return tuple(each.worker for each in self.dead)


class TriedElsewhere(Exception):
    """Another suspect is being tried in this process: not now, not here."""


class Trial:
    """Something that is suspected is in hand."""

    def __init__(self, evidence: "Evidence", key: str, others: list[Taking], revision: int | None) -> None:
        self._evidence = evidence
        self._key = key
        self._others = others
        self._revision = revision
        """None: there is no record."""

    def passed(self) -> None:
        """It has not killed us: the record goes."""
        self._close([])

    def given_back(self) -> None:
        """It is out of our hands in good order, and others will try it: what is known stays known."""
        self._close(self._others)

    def _close(self, left: list[Taking]) -> None:
        self._evidence.leave(self._key)
        if self._revision is not None:
            self._evidence.write(self._key, left, self._revision)
            self._revision = None


class Evidence:
    """What one process knows and says. `host`: its address; `clock`: for people who read the records."""

    def __init__(self, transport: Transport, subjects: Subjects, host: str, worker: str, clock: Clock) -> None:
        self._transport = transport
        self._stream = subjects.dead_stream
        self._host = host
        self._worker = worker
        self._clock = clock
        self._alone: str | None = None

    async def take(self, key: str, *, most: int = MOST_DEATHS, progress: int = 0) -> Trial:
        """Say that we take it up. `Poisoned` when it must not be, `TriedElsewhere` when another suspect is in our hands."""
        try:
            for _ in range(TRIES):
                stored = await self._transport.last(self._stream, key)
                takings = _decode(stored.data) if stored is not None and stored.data else []
                others = await asyncio.gather(*(self._judged(each) for each in takings if each.host != self._host))
                dead = [each for each in others if each.dead]
                here = [each for each in dead if each.progress == progress]
                if len(here) >= most or len(dead) >= max(most, MOST_IN_ALL):
                    raise Poisoned(dead)
                if len(dead) >= ALONE_AFTER:
                    if self._alone not in (None, key):
                        raise TriedElsewhere
                    self._alone = key
                mine = Taking(self._host, self._worker, self._clock.now(), progress)
                revision = 0 if stored is None else stored.sequence
                with contextlib.suppress(Conflict, OutcomeUnknown):
                    ack = await self._transport.publish(key, _encode([*others, mine]), expect=revision, ttl=KEPT)
                    return Trial(self, key, list(others), ack.sequence)
        except NotConnected:
            self.leave(key)
            raise
        except TransportError as error:
            _log.warning("%s is taken up without a record: %s", key, error)
        except asyncio.CancelledError:
            self.leave(key)
            raise
        return Trial(self, key, [], None)

    async def begin(self, key: str) -> Trial | None:
        """Say that it is begun, before it is; None when it was begun before. For what must not be begun twice, whoever dies."""
        mine = _encode([Taking(self._host, self._worker, self._clock.now())])
        try:
            ack = (await surely(lambda: self._transport.publish(key, mine, expect=0, ttl=KEPT))).answer
        except Conflict:
            stored = (await surely(lambda: self._transport.last(self._stream, key))).answer
            if stored is None or stored.data != mine:
                return None
            return Trial(self, key, [], stored.sequence)  # it was stored, though no answer came
        return Trial(self, key, [], ack.sequence)

    async def clear(self, key: str) -> None:
        """Begin to count anew."""
        await self._transport.purge(self._stream, key)

    def leave(self, key: str) -> None:
        """The suspect is out of our hands: another may be tried."""
        if self._alone == key:
            self._alone = None

    def write(self, key: str, takings: list[Taking], revision: int) -> None:
        """Write the record without waiting; when somebody else has written meanwhile, theirs stands."""
        with contextlib.suppress(AikiError):
            writing = self._transport.publish(key, _encode(takings) if takings else b"", expect=revision, ttl=KEPT if takings else 1.0)
            writing.add_done_callback(_swallow)

    async def _judged(self, taking: Taking) -> Taking:
        if taking.dead:
            return taking
        try:
            await self._transport.request(taking.host, b"", timeout=PATIENCE)
        except NoResponders:
            return msgspec.structs.replace(taking, dead=True)
        except NotConnected:
            raise
        except TransportError:
            pass
        return taking


def _swallow(writing: "asyncio.Future[Ack]") -> None:
    if not writing.cancelled():
        writing.exception()
