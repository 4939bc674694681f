"""Webhooks: the keys that sign their URLs, and the way of an answer to the run that waits for it."""

import asyncio
import os
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from aiki.client.address import WITHIN, Mailbox
from aiki.journal import Entry, Received, RecordedStep
from aiki.kv import SecretStore
from aiki.kv.secret_store import WEBHOOK_KEYS
from aiki.schema.json_schema import check_fits
from aiki.schema.structural import check_size
from aiki.transport.surely import surely
from aiki.types.errors import Conflict, DefinitionError, PayloadError, RequestTimeout, RunEnded, WebhookExpired
from aiki.types.messages import Event, encode
from aiki.webhooks import Keyring, Ticket
from aiki.webhooks.keyring import invalid

if TYPE_CHECKING:
    from aiki.client.client import Client

__all__ = ["DEFAULT_PUBLIC_URL", "Delivered", "HookRecord", "Webhooks"]

Delivered = Literal["received", "already_received"]

DEFAULT_PUBLIC_URL = "http://127.0.0.1:8080"
PATH = "/hooks/"
FRESH = 60.0
"""Seconds for which the region's keys are taken from memory: so long a key may still sign after another has taken its place."""
LOOK_FIRST, PATIENCE = 0.02, 5.0
"""Seconds, doubling, after which a hook is looked for again that the run has not recorded, and for how long."""
LOOK_AGAIN = 1.0
"""Seconds between two looks for a key that is not known: whoever sends tokens at random shall not make us read all the time."""


class HookRecord(msgspec.Struct, frozen=True):
    """What a run records of a webhook, in a step of the name `step`: its URL, and the JSON Schema of its answer."""

    url: str
    expires_at: float
    ordinal: int
    schema: dict[str, Any]

    @staticmethod
    def step(hook: str) -> str:
        """The name of the step."""
        return f"webhook {hook}"


class Webhooks:
    """The webhooks of a client's region. With `$AIKI_SECRET` the keys are what that says, else the region's own, in its store."""

    def __init__(self, client: "Client") -> None:
        self._client = client
        self._store = SecretStore(client.transport, client.subjects)
        self._kept: Keyring | None = None
        self._read_at = float("-inf")

    async def url(self, ticket: Ticket) -> str:
        """A URL on `$AIKI_PUBLIC_URL` that ends in the ticket's token."""
        token = (await self._keyring(FRESH)).sign(ticket)
        return os.environ.get("AIKI_PUBLIC_URL", DEFAULT_PUBLIC_URL).rstrip("/") + PATH + token

    async def deliver(self, token: str, body: bytes) -> Delivered:
        """See `Client.deliver_webhook`."""
        ticket = await self._verify(token)
        if await self._client.now() >= ticket.expires_at:
            raise WebhookExpired(f"webhook {ticket.hook!r} of run {ticket.run_id} has expired", hook=ticket.hook, run_id=ticket.run_id)
        return await self._deliver(ticket, body)

    async def rotate(self, *, forget: bool) -> None:
        """See `Client.rotate_webhook_key`."""
        if "AIKI_SECRET" in os.environ:
            raise DefinitionError(
                "the keys of webhooks come from $AIKI_SECRET: put a new secret in front of the others there", what="rotate"
            )
        while True:
            await self._keyring(0.0)
            stored = await self._store.read(WEBHOOK_KEYS)
            if stored is None:
                continue
            keyring = msgspec.msgpack.decode(stored.value, type=Keyring).rotated(forget=forget)
            try:
                await self._write(keyring, stored.revision)
            except Conflict:
                continue
            return

    async def _verify(self, token: str) -> Ticket:
        keyring = await self._keyring(FRESH)
        if not keyring.knows(token):
            keyring = await self._keyring(LOOK_AGAIN)
        ticket = keyring.verify(token)
        if ticket.region != self._client.region:
            raise invalid()  # another region's, with the same secret
        return ticket

    async def _keyring(self, fresh: float) -> Keyring:
        if (text := os.environ.get("AIKI_SECRET")) is not None:
            return Keyring.from_secrets(text)
        now = asyncio.get_running_loop().time()
        if self._kept is None or now - self._read_at >= fresh:
            self._kept, self._read_at = await self._read(), now
        return self._kept

    async def _read(self) -> Keyring:
        """The region's keys; whoever comes first makes one."""
        while (stored := await self._store.read(WEBHOOK_KEYS)) is None:
            try:
                await self._write(Keyring.random(), 0)
            except Conflict:
                continue
        return msgspec.msgpack.decode(stored.value, type=Keyring)

    async def _write(self, keyring: Keyring, revision: int) -> None:
        value = msgspec.msgpack.encode(keyring)
        await self._store.commit(WEBHOOK_KEYS, value, revision, state="keys", operation=secrets.token_hex(8))
        self._kept, self._read_at = keyring, asyncio.get_running_loop().time()

    async def _deliver(self, ticket: Ticket, body: bytes) -> Delivered:
        client = self._client
        mailbox = Mailbox(client, ticket.run_id, ticket.workflow, ticket.version)
        pause, looked = LOOK_FIRST, 0.0
        while True:
            answer, record = await self._look(ticket)
            if answer is not None:
                return "already_received"
            try:
                await mailbox.find_open("sent an answer")
            except RunEnded:
                if (await self._look(ticket))[0] is not None:
                    return "already_received"  # it came in between, and was all that the run waited for
                raise
            if record is not None:
                break
            # The code has given the URL away in the turn that made it, and that is about to be written.
            if looked >= PATIENCE:
                raise RequestTimeout(
                    f"run {ticket.run_id} has not recorded its webhook {ticket.hook!r} yet: send the answer again",
                    subject=self._subject(ticket),
                    timeout=PATIENCE,
                )
            await asyncio.sleep(pause)
            pause, looked = pause * 2, looked + pause
        word = Event(id=ticket.event, name=ticket.event, payload=_checked(body, ticket, record))
        data, message_id = encode(word), f"{ticket.run_id}/{word.id}"
        sure = await surely(lambda: client.transport.publish(self._subject(ticket), data, message_id=message_id), within=WITHIN)
        if not sure.answer.duplicate:
            return "received"
        # Somebody else's was first, or ours was, when we did not hear of it.
        mine = sure.repeated and (await self._look(ticket))[0] == word.payload
        return "received" if mine else "already_received"

    async def _look(self, ticket: Ticket) -> tuple[bytes | None, HookRecord | None]:
        """The answer that was given before, if one was, and the hook, if it is recorded."""
        client = self._client
        # The mailbox first: what leaves it in between is in the store by then.
        words = await client.store.words(self._subject(ticket))
        found = await client.recorded(ticket.run_id)
        history = [] if found is None else found.journal
        given = [word for word in words if isinstance(word, Event)] + [entry for entry in history if isinstance(entry, Received)]
        return next((each.payload for each in given if each.id == ticket.event), None), _recorded(ticket, history)

    def _subject(self, ticket: Ticket) -> str:
        return self._client.subjects.run_words(ticket.workflow, ticket.version, ticket.run_id)


def _recorded(ticket: Ticket, history: Sequence[Entry]) -> HookRecord | None:
    step = HookRecord.step(ticket.hook)
    for entry in history:
        if isinstance(entry, RecordedStep) and entry.name == step and entry.kind == "local" and entry.error is None:
            record = msgspec.json.decode(entry.value, type=HookRecord)
            if record.ordinal == ticket.ordinal:
                return record
    return None


def _checked(body: bytes, ticket: Ticket, record: HookRecord) -> bytes:
    """The answer as it goes to the run, `null` for an empty one. `PayloadError` when it does not fit the hook's type."""
    where = f"answer to webhook {ticket.hook!r}"
    data = body if body.strip() else b"null"
    check_size(data, where)
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise PayloadError(f"{where} is not JSON: {error}", where=where, path="$", reason=f"it is not JSON: {error}") from error
    check_fits(value, record.schema, where)
    return data
