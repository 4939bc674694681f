"""Runs that no worker has taken up: nobody need be there to end them."""

from typing import TYPE_CHECKING

import msgspec

from aiki.journal import CancelAsked, encode_entry, encode_state, new_run
from aiki.types.errors import Conflict, WorkflowCancelled
from aiki.types.failure import ErrorInfo
from aiki.types.messages import Cancel, Start

if TYPE_CHECKING:
    from aiki.client.client import Client

__all__ = ["KEPT", "end_unstarted"]

KEPT = 7 * 86_400.0
"""Seconds for which such a run is kept: the default of workers."""


async def end_unstarted(client: "Client", start: Start, word: Cancel) -> bool:
    """Write the run down as cancelled, if nobody has written it yet; False when somebody has, who is to be told then.

    Its start stays in the mailbox: whoever takes that finds the run ended, and tells those who wait for it.
    """
    if start.locked:
        return False  # who has the key writes it
    now = await client.now()
    state = new_run(start, now)
    asked = CancelAsked(now, word.id, word.reason, word.terminate)
    state.status, state.finished_at, state.cancelled = "cancelled", now, asked
    state.error = msgspec.structs.replace(ErrorInfo.of(WorkflowCancelled(word.reason or "cancelled")), traceback=None)
    state.entries = [encode_entry(asked)]
    state.operation = f"client/{word.id}"
    # Until its start has come, if that is delayed: else that would begin it anew.
    ttl = KEPT + max(0.0, (state.begins_at or now) - now)
    try:
        await client.store.commit(start.run_id, encode_state(state), 0, state="cancelled", operation=state.operation, ttl=ttl)
    except Conflict:
        return False
    if state.begins_at is not None and not start.notify:
        await client.transport.cancel_schedule(client.subjects.mail_stream, client.subjects.delayed_start(start.run_id))
    return True
