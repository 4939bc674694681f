"""Queries and updates: what a client asks of a run's code."""

import asyncio
import itertools
import secrets
from typing import TYPE_CHECKING, Any

import msgspec

from aiki.client.address import Mailbox
from aiki.client.repeated import recorded_before, waits_already
from aiki.schema import Schema, needs_claim, schema_for
from aiki.types.errors import (
    NoResponders,
    OutcomeUnknown,
    QueryFailed,
    RequestTimeout,
    ResultTimeout,
    RunEnded,
    UnknownWorkflow,
    UpdateFailed,
)
from aiki.types.messages import Answer, Query, Update, decode_news, encode
from aiki.types.states import is_final

if TYPE_CHECKING:
    from aiki.client.client import Client

__all__ = ["query", "update"]

QUERY_WITHIN = 5.0
"""Seconds within which a host must answer."""
ASK_AGAIN = 5.0
"""Seconds after which an update that has no answer is sent again, with the same id: its answer may have been lost."""

ANY: Schema[Any] = schema_for(Any, "payload")


async def query(client: "Client", mailbox: Mailbox, run_id: str, name: str, payload: Any) -> Any:
    """Ask the host that has the run in memory, or any other one."""
    address = await mailbox.find()
    if is_final(address.status):
        raise QueryFailed(f"run {run_id} has ended ({address.status}): it has no variables any more", run_id=run_id, query=name, error=None)
    request = run_id.encode() + b"\n" + encode(Query(name, ANY.encode(payload, f"payload of query {name!r}")))
    answer = await _ask(client, address.host, request) if address.host else None
    if answer is None:
        answer = await _ask(client, client.subjects.run_query(address.workflow, address.version), request)
    if answer is None:
        raise UnknownWorkflow(
            f"no live worker serves workflow {address.workflow!r} version {address.version!r}: nobody can answer query {name!r}",
            workflow=address.workflow,
            version=address.version,
            known=[],
        )
    if answer.error is not None:
        raise QueryFailed(f"query {name!r} of run {run_id}: {answer.error}", run_id=run_id, query=name, error=answer.error)
    return msgspec.json.decode(answer.value)


async def _ask(client: "Client", subject: str, request: bytes) -> Answer | None:
    try:
        message = await client.transport.request(subject, request, timeout=QUERY_WITHIN)
        answer = decode_news(message.data)
    except (NoResponders, RequestTimeout, OutcomeUnknown, msgspec.DecodeError):
        return None
    return answer if isinstance(answer, Answer) else None


async def update(client: "Client", mailbox: Mailbox, run_id: str, name: str, payload: Any, key: str | None, limit: float | None) -> Any:
    """Send an update until it is answered."""
    data = ANY.encode(payload, f"payload of update {name!r}", large=True)
    if needs_claim(data):
        await mailbox.find()  # there is such a run
        data = await client.blobs.keep(data, run_id)
    id = secrets.token_hex(8) if key is None else f"k/{name}/{key}"
    await client.ends.listen()
    patience = asyncio.timeout(limit)
    try:
        async with patience:
            repeated = key is not None and await recorded_before(client, run_id, id, key, data)
            message = Update(id=id, name=name, payload=data, reply=client.ends.subject)
            answer = await _answered(client, mailbox, run_id, message, key, repeated)
    except TimeoutError as error:
        if not patience.expired():
            raise
        raise ResultTimeout(f"update {name!r} of run {run_id} has no answer within {limit:g} s", run_id=run_id, timeout=limit) from error
    if answer.error is None:
        return msgspec.json.decode(answer.value)
    if answer.error.code == RunEnded.code:
        raise RunEnded(answer.error.message, run_id=run_id, state="ended")
    raise UpdateFailed(f"update {name!r} of run {run_id}: {answer.error}", run_id=run_id, update=name, error=answer.error)


async def _answered(client: "Client", mailbox: Mailbox, run_id: str, message: Update, key: str | None, repeated: bool) -> Answer:
    address = await mailbox.find()
    if not repeated or address.imported:  # the journal of a run that has ended still tells what an update came to
        address = await mailbox.find_open("updated")
        if key is not None:
            await waits_already(client, run_id, address.workflow, address.version, message.id, key, message.payload)
    with client.ends.answering(message.id) as answer:
        call = secrets.token_hex(8)  # the stream takes each message once, and a second call wants an answer of its own
        for times in itertools.count():
            await mailbox.put(address, message, f"{run_id}/{call}/{times}")
            done, _ = await asyncio.wait((answer,), timeout=ASK_AGAIN if client.looks_again else None)
            if done:
                break
        return answer.result()
