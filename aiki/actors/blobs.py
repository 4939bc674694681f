"""Large payloads, as a process sees them: what is brought once stays at hand for a while."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable

from aiki.kv import BlobStore
from aiki.schema import Claim, claim_of, claimed, needs_claim
from aiki.transport.port import Transport
from aiki.types.subjects import Subjects

__all__ = ["Blobs"]

AT_HAND = 32 * 1024 * 1024
"""Bytes that are kept in memory."""

AT_ONCE = 256 * 1024
"""Bytes above which hashing goes to a thread."""


class Blobs:
    """Puts claims in the place of large payloads, and payloads in the place of claims. What is small costs one comparison."""

    def __init__(self, transport: Transport, subjects: Subjects, now: Callable[[], float], *, secret: bool = False) -> None:
        self.store = BlobStore(transport, subjects, now, secret=secret)
        self._at_hand: OrderedDict[Claim, bytes] = OrderedDict()
        self._bytes = 0
        self._reads: dict[Claim, asyncio.Task[bytes]] = {}

    async def keep(self, data: bytes, run_id: str) -> bytes:
        """What a message to, or of, that run is to hold of a payload: itself, or its claim, whose bytes are stored when this returns."""
        if not needs_claim(data):
            return data
        claim = await asyncio.to_thread(claimed, data) if len(data) > AT_ONCE else claimed(data)
        await self.write(claim, data, run_id)
        return claim.encode()

    async def write(self, claim: Claim, data: bytes, run_id: str) -> None:
        """Store a payload that a run is going to refer to."""
        await self.store.write(claim, data, run_id)
        self._remember(claim, data)

    async def hold(self, claim: Claim, run_id: str) -> None:
        """Keep a payload for one more run, which is going to refer to it. `PayloadLost`."""
        await self.store.hold(claim, run_id)

    async def open(self, data: bytes) -> bytes:
        """The payload that this is, or is the claim of. `PayloadLost`."""
        claim = claim_of(data)
        return data if claim is None else await self.read(claim)

    async def read(self, claim: Claim) -> bytes:
        """A large payload; who asks for one that is on its way waits for the same reading. `PayloadLost`."""
        if (data := self._at_hand.get(claim)) is not None:
            self._at_hand.move_to_end(claim)
            return data
        reading = self._reads.get(claim)
        if reading is None:
            reading = self._reads[claim] = asyncio.create_task(self.store.read(claim))
            reading.add_done_callback(lambda _: self._reads.pop(claim, None))
        data = await asyncio.shield(reading)  # who is cancelled must not take it away from the others
        self._remember(claim, data)
        return data

    def _remember(self, claim: Claim, data: bytes) -> None:
        if claim.size > AT_HAND // 2 or claim in self._at_hand:
            return
        self._at_hand[claim] = data
        self._bytes += claim.size
        while self._bytes > AT_HAND:
            self._bytes -= self._at_hand.popitem(last=False)[0].size
