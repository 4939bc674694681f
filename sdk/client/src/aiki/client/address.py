"""Where a run takes messages."""

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from aiki.client.unstarted import end_unstarted
from aiki.transport.surely import surely
from aiki.types.errors import NotRetryable, RunEnded, RunNotFound
from aiki.types.messages import Again, AnyWord, Cancel, Start, encode
from aiki.types.states import State, is_final

if TYPE_CHECKING:
    from aiki.client.client import Client

__all__ = ["Address", "Mailbox"]

WITHIN = 60.0
"""Seconds for which a message is repeated while its outcome is unknown: well inside the stream's dedupe window, so it is stored once."""


class Address(NamedTuple):
    """A run as far as its mailbox goes. `host` is the subject of the host that had it last ("": none yet)."""

    workflow: str
    version: str
    status: State
    host: str
    start: Start | None = None
    """Of a run that no worker has taken up yet."""
    imported: bool = False
    """It is a copy from an archive."""


class Mailbox:
    """Sends words to one run. Each names the one that this client has sent before it, so that their order holds."""

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
                return Address(start.workflow, start.version, "queued", "", start)
            found = await client.load(self._run_id)
        if found is None:
            raise RunNotFound(f"there is no run {self._run_id!r} in region {client.region!r}", run_id=self._run_id)
        state, _ = found
        return Address(state.workflow, state.version, state.status, state.host, imported=state.imported)

    async def find_open(self, what: str) -> Address:
        """`RunEnded` when the run takes no messages any more."""
        address = await self.find()
        if is_final(address.status):
            message = f"run {self._run_id} has ended ({address.status}): it cannot be {what}"
            raise RunEnded(message, run_id=self._run_id, state=address.status)
        return address

    async def say(self, word: AnyWord, what: str) -> None:
        """Put what is asked of the run into its mailbox, in the order of the calls. When this has returned, the run gets it."""
        address = await self.find_open(what)
        if address.start is not None and isinstance(word, Cancel) and await end_unstarted(self._client, address.start, word):
            return
        await self.put(address, word, f"{self._run_id}/{word.id}")

    async def say_to_ended(self, word: Again) -> None:
        """The same to a run that has ended without a result; `NotRetryable` when this one has not."""
        address = await self.find()
        if not is_final(address.status) or address.status == "completed":
            message = f"run {self._run_id} is {address.status}: only one that has ended without a result can go on"
            raise NotRetryable(message, run_id=self._run_id, state=address.status)
        if address.imported:
            message = f"run {self._run_id} is a copy from an archive: it cannot go on"
            raise NotRetryable(message, run_id=self._run_id, state=address.status)
        await self.put(address, word, f"{self._run_id}/{word.id}")

    async def put(self, address: Address, word: AnyWord, message_id: str) -> bool:
        """The same, when the run was found already; False when the stream has taken a message with this id before."""
        client = self._client
        said = client.said
        before = said.get(self._run_id, "")
        data = encode(msgspec.structs.replace(word, after=before if before != word.id else ""))
        subject = client.subjects.run_words(address.workflow, address.version, self._run_id)
        sure = await surely(lambda: client.transport.publish(subject, data, message_id=message_id), within=WITHIN)
        said[self._run_id] = word.id
        return not sure.answer.duplicate
