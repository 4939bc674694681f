"""Starts of workflows that refuse what is over their limit: the caller is told at once, before anything is stored."""

import asyncio
from typing import TYPE_CHECKING

import msgspec

from aiki.actors.lines import limit_reached
from aiki.journal import RunState
from aiki.lines import LineState, Place
from aiki.types.messages import Start
from aiki.types.run_limit import RunLimit

if TYPE_CHECKING:
    from aiki.client.client import Client

__all__ = ["HolderView", "find_or_reserve", "read_line", "refuses"]

SHOWN_SOON = 10.0
"""Seconds within which the start is stored for which a place was reserved; who does not manage that has died."""
PAUSE = 0.05


class HolderView(msgspec.Struct, frozen=True, kw_only=True):
    """Who is in the way of a run that waits for a place: some of those under way, and how many come before it."""

    run_ids: tuple[str, ...]
    before: int


def refuses(limit: RunLimit | None, start: Start) -> bool:
    """Whether there must be a place for this start now."""
    return limit is not None and limit.on_limit in ("reject", "return_existing") and start.due is None and start.fork is None


async def find_or_reserve(client: "Client", start: Start, limit: RunLimit) -> Place | None:
    """Reserve the start's place, of which there must be one; answers the run that is there instead, if that is as good.

    Raises `LimitReached`. The place of a start that never comes is free when somebody looks a minute and a half later.
    """
    key = limit.key(start.input)
    place = Place(start.run_id, start.version, start.created_at, start.priority, reserved=True)
    while True:
        line = await client.lines.enter(start.workflow, key, place, limit, waits=False, verify=True)
        if line.has_inside(start.run_id):
            return None
        if limit.on_limit == "reject":
            raise limit_reached(line, limit.count)
        other = line.inside[-1]
        if await _comes(client, start.workflow, other):
            return other
        await client.lines.leave(start.workflow, key, other.run_id, other.stay)


async def _comes(client: "Client", workflow: str, place: Place) -> bool:
    """Whether the run exists to which a place was given, which may be about to be started by somebody else."""
    until = asyncio.get_running_loop().time() + SHOWN_SOON
    while not await client.lines.exists(workflow, place.version, place.run_id):
        if not place.reserved or asyncio.get_running_loop().time() > until:
            return False
        await asyncio.sleep(PAUSE)
    return True


async def read_line(client: "Client", state: RunState) -> HolderView | None:
    """Who is in the way of a stored run; None when it waits for no place."""
    if state.line is None or not state.line.waits:
        return None
    line = await client.lines.read(state.workflow, state.line.key) or LineState(workflow=state.workflow)
    before = next((index for index, place in enumerate(line.waiting) if place.run_id == state.run_id), 0)
    return HolderView(run_ids=tuple(place.run_id for place in line.inside[:3]), before=before)
