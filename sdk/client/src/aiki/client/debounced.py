"""Debounced starts, as clients make them."""

import secrets
from typing import TYPE_CHECKING

import msgspec

from aiki.journal import decode_state
from aiki.lines import Gathering
from aiki.transport.surely import surely
from aiki.types.debounce import Debounce
from aiki.types.errors import Conflict
from aiki.types.identifiers import RunId, new_run_id
from aiki.types.messages import Start
from aiki.types.states import is_final

if TYPE_CHECKING:
    from aiki.client.client import Client

__all__ = ["start_debounced"]


async def start_debounced(client: "Client", start: Start, debounce: Debounce) -> RunId:
    """Add a call to those that are gathered under its key, or begin anew; answers the id of their run.

    The call counts from the compare-and-set on. Then the run's start is stored, unless it is already: whoever opens a gathering may die in
    between, and then the next call does it.
    """
    key, call = debounce.token, secrets.token_hex(8)
    while True:
        now = await client.now()
        gathering, revision = await client.gatherings.read(start.workflow, key)
        if gathering is None or gathering.call != call:  # else it was written, and the answer was lost
            gathering = await _with_call(client, gathering, start, debounce, now)
            gathering.call = call
            try:
                await client.gatherings.write(key, gathering, revision)
            except Conflict:
                continue
        run_id = RunId(gathering.run_id)
        if gathering.calls == 1 or not await _exists(client, start, run_id):
            due = gathering.due if gathering.due > now else None
            await client.send_start(msgspec.structs.replace(start, run_id=run_id, due=due, debounce=key))
        return run_id


async def _with_call(client: "Client", gathering: Gathering | None, start: Start, debounce: Debounce, now: float) -> Gathering:
    if gathering is None or gathering.closed or gathering.version != start.version or await _ended(client, gathering.run_id):
        return Gathering(
            workflow=start.workflow,
            version=start.version,
            run_id=new_run_id(),
            payload=start.input,
            first_at=now,
            due=debounce.due(now, now),
            earlier={} if gathering is None else await _unclaimed(client, gathering),
        )
    gathering.payload = start.input
    gathering.due = debounce.due(gathering.first_at, now)
    gathering.calls += 1
    return gathering


async def _exists(client: "Client", start: Start, run_id: str) -> bool:
    # Delayed, in its mailbox, stored: it goes this way, so it is looked for in that order.
    delayed = await surely(lambda: client.transport.last(client.subjects.mail_stream, client.subjects.delayed_start(run_id)))
    return delayed.answer is not None or await client.lines.exists(start.workflow, start.version, run_id)


async def _ended(client: "Client", run_id: str) -> bool:
    stored = await client.store.read(run_id)
    return stored is not None and is_final(stored.state)


async def _unclaimed(client: "Client", gathering: Gathering) -> dict[str, bytes]:
    """The payloads of runs that may not have taken them yet."""
    found = {}
    for run_id, payload in {**gathering.earlier, gathering.run_id: gathering.payload}.items():
        stored = await client.store.read(run_id)
        state = None if stored is None else decode_state(stored.value)
        if state is None or not (is_final(state.status) or state.gathered is None or state.gathered.taken):
            found[run_id] = payload
    return found
