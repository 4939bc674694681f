"""What an activation does about the large payloads of its run: brings them before the code reads them, stores them before a commit."""

import asyncio
from collections.abc import Iterable

from aiki.actors.blobs import Blobs
from aiki.journal import Claims, Entry, Received, RecordedStep, RunMachine, RunState, Updated
from aiki.schema import Claim, claim_of
from aiki.types.messages import Ended, Event, Mail, Start, StepResult, Update

__all__ = ["Bringing"]


class Bringing:
    """Of one run. The invariant: a run's mark stands at a blob before the commit that refers to it."""

    def __init__(self, run_id: str, blobs: Blobs) -> None:
        self.claims = Claims()
        self._run_id = run_id
        self._blobs = blobs
        self._for_children: set[tuple[Claim, str]] = set()

    async def bring_journal(self, state: RunState, journal: Iterable[Entry], *, another: bool = False) -> None:
        """What a replay is going to read. What the run's journal refers to is marked, unless it was `another` run's."""
        found = _found([state.input, *(payload for entry in journal for payload in _of_entry(entry))])
        if another:
            await self._hold(found)
        inputs = [entry.input for entry in journal if isinstance(entry, RecordedStep)] + [step.input for step in state.pending]
        self.claims.settled.update(found, _found(inputs))
        await self._bring(found)

    async def bring(self, messages: Iterable[Mail]) -> None:
        """What the code may read when it is given these."""
        found = _found([payload for message in messages for payload in _of_message(message)])
        if found:
            await self._bring(found)

    async def bring_missing(self) -> None:
        """What the code has asked for in vain."""
        await self._bring(set(self.claims.missing))

    async def settle(self, messages: Iterable[Mail], machine: RunMachine) -> None:
        """Before a commit that refers to what these messages hold, and to what the code has made."""
        claims = self.claims
        while claims.unwritten:
            claim, data = next(iter(claims.unwritten.items()))
            await self._blobs.write(claim, data, self._run_id)
            claims.settled.add(claim)
            claims.unwritten.pop(claim, None)
        await self._hold(_found([payload for message in messages for payload in _of_message(message)]))
        for step in machine.outstanding if claims.settled else ():
            # A child may begin when its parent is gone.
            if step.child is not None and (input := claim_of(step.input)) is not None:
                key = (input, step.child.run_id)
                if key not in self._for_children:
                    await self._blobs.hold(*key)
                    self._for_children.add(key)

    async def _hold(self, claims: set[Claim]) -> None:
        for claim in claims - self.claims.settled:
            await self._blobs.hold(claim, self._run_id)
            self.claims.settled.add(claim)

    async def _bring(self, claims: set[Claim]) -> None:
        lacking = [claim for claim in claims if self.claims.lacks(claim)]
        for claim, data in zip(lacking, await asyncio.gather(*map(self._blobs.read, lacking)), strict=True):
            self.claims.add(claim, data)


def _found(payloads: Iterable[bytes | None]) -> set[Claim]:
    return {claim for payload in payloads if payload and (claim := claim_of(payload)) is not None}


def _of_entry(entry: Entry) -> tuple[bytes, ...]:
    if isinstance(entry, RecordedStep):
        return (entry.value,)
    return (entry.payload,) if isinstance(entry, Received | Updated) else ()


def _of_message(message: Mail) -> tuple[bytes | None, ...]:
    if isinstance(message, StepResult):
        return (message.value,)
    if isinstance(message, Ended):
        return (message.result,)
    if isinstance(message, Event | Update):
        return (message.payload,)
    return (message.input,) if isinstance(message, Start) else ()
