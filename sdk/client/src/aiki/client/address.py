"""Where a run takes messages."""

import secrets
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from aiki.client.event import Event
from aiki.transport.surely import surely
from aiki.types.errors import RunEnded, RunNotFound
from aiki.types.messages import Cancel, CancelStep, EndSleep, Pause, Unpause, encode
from aiki.types.messages import Event as EventMessage
from aiki.types.names import check_key
from aiki.types.states import State, is_final

if TYPE_CHECKING:
    from aiki.client.client import Client

__all__ = ["Address", "Mailbox"]

WITHIN = 60.0
"""Seconds for which a message is repeated while its outcome is unknown: well inside the stream's dedupe window, so it is stored once."""

Payload = TypeVar("Payload")
Word = Cancel | CancelStep | EndSleep | Pause | Unpause


class Address(NamedTuple):
    """A run as far as its mailbox goes. `host` is the subject of the host that had it last ("": none yet)."""

    workflow: str
    version: str
    status: State
    host: str


class Mailbox:
    """Sends messages to one run. `last` is the event that this client has sent it last: the next one names it, so their order holds."""

    def __init__(self, client: "Client", run_id: str, workflow: str, version: str) -> None:
        self._client = client
        self._run_id = run_id
        self._workflow = workflow
        self._version = version

    async def find(self) -> Address:
        """`RunNotFound` when there is no such run; one that no worker has taken up yet is found too."""
        client = self._client
        found = await client.load(self._run_id)
        if found is None:
            start = await client.waiting_start(self._workflow, self._version, self._run_id)
            if start is not None:
                return Address(start.workflow, start.version, "queued", "")
            found = await client.load(self._run_id)
        if found is None:
            raise RunNotFound(f"there is no run {self._run_id!r} in region {client.region!r}", run_id=self._run_id)
        state, _ = found
        return Address(state.workflow, state.version, state.status, state.host)

    async def find_open(self, what: str) -> Address:
        """`RunEnded` when the run takes no messages any more."""
        address = await self.find()
        if is_final(address.status):
            raise RunEnded(f"run {self._run_id} has {address.status}: it cannot be {what}", run_id=self._run_id, state=address.status)
        return address

    async def send(self, word: Word, what: str) -> None:
        """Put a message into the mailbox. When this has returned, the run gets it."""
        address = await self.find_open(what)
        await self._publish(self.subject(address), encode(word), f"{self._run_id}/{word.id}")

    async def send_event(self, event: Event[Payload], payload: Payload, idempotency_key: str | None) -> None:
        """The same for an event, in the order of the calls."""
        data = event.encode(payload)
        id = secrets.token_hex(8) if idempotency_key is None else f"k/{event.name}/{check_key(idempotency_key)}"
        address = await self.find_open("sent events")
        sent = self._client.sent_events
        message = EventMessage(event.name, data, id, sent.get(self._run_id, ""))
        await self._publish(f"{self.subject(address)}.event", encode(message), f"{self._run_id}/{id}")
        sent[self._run_id] = id

    def subject(self, address: Address) -> str:
        """The mailbox."""
        return f"{self._client.subjects.run_mail(address.workflow, address.version)}{self._run_id}"

    async def _publish(self, subject: str, data: bytes, message_id: str) -> None:
        await surely(lambda: self._client.transport.publish(subject, data, message_id=message_id), within=WITHIN)
