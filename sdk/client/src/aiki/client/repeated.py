"""What is sent to a run under an idempotency key, and was sent before."""

from typing import TYPE_CHECKING

from aiki.actors import history
from aiki.journal import Received, Updated
from aiki.schema import payload_hash
from aiki.types.errors import IdempotencyConflict
from aiki.types.messages import Event, Update

if TYPE_CHECKING:
    from aiki.client.client import Client

__all__ = ["recorded_before", "waits_already"]

NEWEST = 8
"""Sealed segments of a journal that are looked through, some thousand entries at most. The run itself knows what is older, and takes
nothing twice; only that the payload was another one is not noticed then.
"""


async def recorded_before(client: "Client", run_id: str, id: str, key: str, payload: bytes) -> bool:
    """Whether the run has recorded the event or update with this id. `IdempotencyConflict` when that had another payload."""
    found = await client.load(run_id)
    if found is None:
        return False
    try:
        journal = await history.load(client.store, found[0], newest=NEWEST)
    except LookupError:  # it has gone on while it was read
        return await recorded_before(client, run_id, id, key, payload)
    recorded = next((entry.payload for entry in journal if isinstance(entry, Received | Updated) and entry.id == id), None)
    return _compare(recorded, run_id, key, payload)


async def waits_already(client: "Client", run_id: str, workflow: str, version: str, id: str, key: str, payload: bytes) -> bool:
    """Whether the event or update with this id waits in the run's mailbox, or is recorded by now. `IdempotencyConflict` as above."""
    words = await client.store.words(client.subjects.run_words(workflow, version, run_id))
    waiting = next((word.payload for word in words if isinstance(word, Event | Update) and word.id == id), None)
    if waiting is not None:
        return _compare(waiting, run_id, key, payload)
    return await recorded_before(client, run_id, id, key, payload)


def _compare(earlier: bytes | None, run_id: str, key: str, payload: bytes) -> bool:
    if earlier is None:
        return False
    recorded, new = payload_hash(earlier), payload_hash(payload)
    if recorded != new:
        raise IdempotencyConflict(
            f"run {run_id} was sent something under idempotency key {key!r} before, with another payload "
            f"(recorded {recorded.hex()[:12]}…, new {new.hex()[:12]}…)",
            key=key,
            run_id=run_id,
            recorded_hash=recorded.hex(),
            new_hash=new.hex(),
        )
    return True
