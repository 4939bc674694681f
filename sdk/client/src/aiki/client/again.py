"""Runs that have ended, taken up again."""

import contextlib
from typing import TYPE_CHECKING

from aiki.actors import history
from aiki.journal import decode_state, encode_state
from aiki.types.errors import Conflict
from aiki.types.messages import Again, Reset
from aiki.types.states import is_final

if TYPE_CHECKING:
    from aiki.client.client import Client

__all__ = ["begin_again"]


async def begin_again(client: "Client", run_id: str, word: Again | Reset) -> None:
    """Write a run that has ended down as going on, unless a worker has done so already.

    The word is in its mailbox by now and stands behind its next turn, whoever dies; this is for whoever looks at the run before that.
    """
    while (stored := await client.store.read(run_id)) is not None and is_final(stored.state):
        state = decode_state(stored.value)
        if await history.take_up(client.store, state, word, await client.now()) is None:
            return
        state.operation = f"client/{word.id}"
        with contextlib.suppress(Conflict):
            await client.store.commit(run_id, encode_state(state), stored.revision, state=state.status, operation=state.operation)
