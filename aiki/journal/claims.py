"""The large payloads that a run's code has in its hands during a turn: the machine knows only their claims."""

from aiki.schema import Claim, claim_of, claimed, needs_claim

__all__ = ["Claims"]


class Claims:
    """Belongs to one activation, which brings what the code is going to read and stores what the code has made, before it commits that."""

    def __init__(self) -> None:
        self.unwritten: dict[Claim, bytes] = {}
        """Made by the code, and not known to be stored."""
        self.missing: set[Claim] = set()
        """Asked for by the code, and not here: the host brings them, and lets the code begin anew."""
        self.settled: set[Claim] = set()
        """Stored, and held by this run."""
        self._known: dict[Claim, bytes] = {}

    def put(self, data: bytes) -> bytes:
        """What is to be recorded of a payload: itself, or its claim."""
        if not needs_claim(data):
            return data
        claim = claimed(data)
        self._known[claim] = data
        if claim not in self.settled:
            self.unwritten[claim] = data
        return claim.encode()

    def add(self, claim: Claim, data: bytes) -> None:
        """Have it at hand."""
        self._known[claim] = data
        self.missing.discard(claim)

    def lacks(self, claim: Claim) -> bool:
        """Whether it must be brought first."""
        return claim not in self._known

    def open(self, data: bytes) -> bytes | None:
        """The payload that was recorded as this; None when it is not here, which is noted."""
        claim = claim_of(data)
        if claim is None:
            return data
        if (found := self._known.get(claim)) is None:
            self.missing.add(claim)
        return found

    def forget(self) -> None:
        """Free the memory of what is stored."""
        self._known = dict(self.unwritten)

    def drop(self) -> None:
        """The code is gone: what it had made and was not recorded has never been."""
        self.unwritten.clear()
        self.missing.clear()
