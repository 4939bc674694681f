"""Where a run of a workflow with a limit stands: before its code may begin, it must have a place in its line."""

from typing import Protocol

import msgspec

from aiki.actors.definitions import RunDefinition
from aiki.actors.gatherings import Gatherings
from aiki.actors.lines import Lines, limit_reached
from aiki.journal import Gathered, Line, RunState
from aiki.lines import Place
from aiki.schema import payload_hash
from aiki.types.errors import LimitReached
from aiki.types.states import is_final

__all__ = ["LINE_FULL_FOR", "LOOK_AGAIN", "give_place_back", "must_ask", "take_place"]

LOOK_AGAIN = 30.0
"""Seconds after which a run that waits looks whether those before it are under way; then it waits for as long again as it has."""

LONGEST = 3600.0

LINE_FULL_FOR = 10.0
"""Seconds after which a start comes again for which not even waiting was possible."""


class HasLines(Protocol):
    """A host, as far as it is needed here."""

    lines: Lines
    gatherings: Gatherings


def must_ask(definition: RunDefinition, state: RunState, now: float, *, new: bool) -> bool:
    """Whether this run needs its payload, or a place, and has none, as far as it knows."""
    if is_final(state.status) or state.imported:
        return False
    if state.gathered is not None and not state.gathered.taken:
        return state.begins_at is None or state.begins_at <= now
    if state.line is not None:
        return state.line.waits
    if definition.run_limit is None:
        return False
    # One that began before there was a limit is let alone; one that waits for its instant will ask then.
    return state.begins_at <= now if state.begins_at is not None else new


async def take_place(
    host: HasLines, definition: RunDefinition, state: RunState, now: float, *, forked: bool = False
) -> LimitReached | None:
    """Ask for a place: `state.line` says what came of it, and `begins_at` when to ask again. Answers why the run is not to be at all.

    What has begun before, retried, reset or `forked`, has its place whatever the limit. Raises what the key's function raises, `LineFull`,
    and `PayloadError`.
    """
    if state.gathered is not None and not state.gathered.taken and not await _take_payload(host, state, state.gathered, now):
        return None
    limit, line = definition.run_limit, state.line
    if limit is None:  # or it was taken off
        _begin(state, line, now)
        return None
    first = line is None
    if line is None:
        line = Line(limit.key(state.input), state.created_at if state.begins_at is None else state.begins_at)
    forced = forked or (not first and state.begins_at is None)
    place = Place(state.run_id, state.version, line.since, state.priority, line.stay)
    refuses = limit.on_limit in ("reject", "return_existing") and not forced
    look = refuses or (not first and state.begins_at is not None and state.begins_at <= now)
    found = await host.lines.enter(definition.name, line.key, place, limit, waits=not refuses, forced=forced, verify=look)
    if found.has_inside(state.run_id):
        _begin(state, line, now)
    elif refuses:
        return limit_reached(found, limit.count)
    else:
        if limit.on_limit == "cancel_previous":
            await host.lines.cancel_older(found, state.run_id)
        if first or look or state.begins_at is None:
            state.begins_at = now + min(LONGEST, max(LOOK_AGAIN, now - line.since))
        state.line = msgspec.structs.replace(line, waits=True)
    return None


async def _take_payload(host: HasLines, state: RunState, gathered: Gathered, now: float) -> bool:
    """Whether a debounced run has come to its instant; then its payload is that of the last call."""
    found = await host.gatherings.close(state.workflow, gathered.key, state.run_id, now)
    if isinstance(found, float):
        state.begins_at = found
        return False
    if found is not None:
        state.input, state.input_hash = found, payload_hash(found)
    state.gathered = msgspec.structs.replace(gathered, taken=True)
    return True


def _begin(state: RunState, line: Line | None, now: float) -> None:
    if line is not None:
        state.line = msgspec.structs.replace(line, waits=False)
    if state.begins_at is not None:
        state.begins_at, state.alarms = now, []


async def give_place_back(host: HasLines, definition: RunDefinition, state: RunState) -> None:
    """A run has ended: who waits for its place moves in."""
    line = state.line
    if state.gathered is not None and state.gathered.taken:
        await host.gatherings.forget(state.workflow, state.gathered.key, state.run_id)
    if line is not None:
        await host.lines.leave(state.workflow, line.key, state.run_id, line.stay)
    elif definition.run_limit is not None and not state.imported:
        # It may have ended unstarted, while a host that died was about to begin it.
        try:
            key = definition.run_limit.key(state.input)
        except Exception:
            return  # then it has never had a place
        await host.lines.leave(state.workflow, key, state.run_id, 1)
