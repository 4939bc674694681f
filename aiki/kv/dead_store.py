"""The dead letters of a region: a JetStream KV bucket with the letters, and the messages that belong to them.

Keys: `letter.<id>`, and `kept.<id>.<number>` for the messages, which are kept as they were, with their subject as a header.
"""

import asyncio
import secrets
from collections.abc import Mapping
from typing import NamedTuple

from aiki.transport.port import Headers, Transport
from aiki.transport.surely import surely
from aiki.types.letters import DeadLetter, decode_letter, encode_letter
from aiki.types.subjects import Subjects

__all__ = ["DeadStore", "KeptMessage"]

SUBJECT_HEADER = "Aiki-Subject"
"""Where a kept message came from."""


class KeptMessage(NamedTuple):
    """A message as it was, and the key that it is kept under."""

    key: str
    subject: str
    data: bytes
    headers: Mapping[str, str]


class DeadStore:
    """The letters of one region. Writing and removing may be repeated."""

    def __init__(self, transport: Transport, subjects: Subjects) -> None:
        self._transport = transport
        self._stream = subjects.dead_stream
        self._letters = subjects.letter_prefix
        self._kept = subjects.kept_prefix

    async def write(self, letter: DeadLetter) -> None:
        """Put a letter into the list, in place of one with its id."""
        key, data, once = self._letters + letter.id, encode_letter(letter), secrets.token_hex(8)
        # Repeated without an answer, it must not come after its own removal.
        await surely(lambda: self._transport.publish(key, data, message_id=once))

    async def read(self, id: str) -> DeadLetter | None:
        """A letter; None when there is none."""
        stored = (await surely(lambda: self._transport.last(self._stream, self._letters + id))).answer
        return None if stored is None else decode_letter(stored.data)

    async def ids(self) -> list[str]:
        """The ids of all letters, sorted."""
        subjects = await self._transport.subjects(self._stream, self._letters + "*")
        return [subject.removeprefix(self._letters) for subject in subjects]

    async def keep(self, id: str, number: int, subject: str, data: bytes, headers: Headers) -> str:
        """Keep a message that belongs to a letter; answers its key. What the server reads in its headers stays out: it was obeyed."""
        own = {name: value for name, value in headers.items() if not name.startswith("Nats-")}
        key = f"{self._kept}{id}.{number:020d}"
        once = secrets.token_hex(8)
        await surely(lambda: self._transport.publish(key, data, headers={**own, SUBJECT_HEADER: subject}, message_id=once))
        return key

    async def kept(self, id: str) -> list[KeptMessage]:
        """The messages of a letter, oldest first."""
        keys = await self._transport.subjects(self._stream, f"{self._kept}{id}.*")
        found = await asyncio.gather(*(self._transport.last(self._stream, key) for key in keys))
        return [
            KeptMessage(
                stored.subject,
                stored.headers[SUBJECT_HEADER],
                stored.data,
                {name: value for name, value in stored.headers.items() if name != SUBJECT_HEADER and not name.startswith("Nats-")},
            )
            for stored in found
            if stored is not None
        ]

    async def forget(self, key: str) -> None:
        """Delete one kept message."""
        await self._transport.purge(self._stream, key)

    async def unlist(self, id: str) -> None:
        """Delete a letter, and leave what is kept."""
        await self._transport.purge(self._stream, self._letters + id)

    async def remove(self, id: str) -> None:
        """Delete a letter. What is still kept for it goes too."""
        await self._transport.purge(self._stream, f"{self._kept}{id}.*")
        await self._transport.purge(self._stream, self._letters + id)
