"""Which events a workflow declares, as the workers that serve it tell."""

from typing import TYPE_CHECKING

from aiki.actors import roster
from aiki.client.event import unknown_event
from aiki.types.errors import OutcomeUnknown, RequestTimeout

if TYPE_CHECKING:
    from aiki.client.client import Client

__all__ = ["Declared"]


class Declared:
    """What the roster says of events, remembered for as long as a worker takes to report again."""

    def __init__(self, client: "Client") -> None:
        self._client = client
        self._known: dict[tuple[str, str], tuple[str, ...]] = {}
        self._read_at = float("-inf")

    async def check(self, event: str, workflow: str, version: str) -> None:
        """`UnknownEvent` when a live worker serves the workflow, this declares its events, and that is none of them."""
        known = (await self._declarations()).get((workflow, version))
        if known is not None and event not in known:
            raise unknown_event(event, workflow, known)

    async def _declarations(self) -> dict[tuple[str, str], tuple[str, ...]]:
        now = self._client.clock.now()
        if not 0 <= now - self._read_at < roster.REPORT_EVERY:
            try:
                workers = await self._client.workers()
            except (OutcomeUnknown, RequestTimeout):
                return self._known  # a courtesy: the run takes no harm from an event that it does not know
            self._known = {(name, number): events for worker in workers for name, number, events in worker.events}
            self._read_at = now
        return self._known
