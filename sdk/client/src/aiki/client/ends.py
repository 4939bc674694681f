"""Ends of runs, and answers to updates, as they are announced to a client.

A run's host tells whoever started the run, on one core subject per client; for other runs the client listens to their commits. Neither is
durable, so whoever waits also reads the run: at first (unless this client has started it), after a reconnect, and from time to time.
"""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from aiki.transport.port import Message, Subscription, Transport
from aiki.types.errors import KeyMissing
from aiki.types.messages import Answer, Ended, decode_news
from aiki.types.subjects import Subjects

__all__ = ["Ends"]

MOST_EXPECTED = 100_000
"""Runs started here of which the client remembers that their end has not been announced; of others it reads the state first."""


class Ends:
    """What this client has heard, and who waits for it."""

    def __init__(self, transport: Transport, subjects: Subjects) -> None:
        self.subject = subjects.client_prefix + secrets.token_hex(8)
        self._transport = transport
        self._listening: asyncio.Future[Subscription] | None = None
        self._expected: OrderedDict[str, None] = OrderedDict()
        self._waiting: dict[str, list[asyncio.Queue[Ended | None]]] = {}
        self._asked: dict[str, list[asyncio.Future[Answer]]] = {}
        transport.on_reconnect(self.look_again)

    async def listen(self) -> None:
        """Subscribe, once; later calls return at once."""
        listening = self._listening
        if listening is None:
            listening = self._listening = asyncio.ensure_future(self._transport.subscribe(self.subject, self._announced))
        if not listening.done():
            await asyncio.shield(listening)

    def expect(self, run_id: str) -> None:
        """This client has started the run."""
        self._expected[run_id] = None
        if len(self._expected) > MOST_EXPECTED:
            self._expected.popitem(last=False)

    def expected(self, run_id: str) -> bool:
        """Whether the run's end will be announced here, as far as is known."""
        return run_id in self._expected

    def forget(self, run_id: str) -> None:
        """The run's end will not be announced here, though this client has started it: it was announced already, and is taken back."""
        self._expected.pop(run_id, None)

    def tell(self, ended: Ended) -> None:
        """Pass an end on to whoever waits for it."""
        self._expected.pop(ended.run_id, None)
        for queue in self._waiting.get(ended.run_id, ()):
            queue.put_nowait(ended)

    @contextmanager
    def waiting(self, run_id: str) -> Iterator["asyncio.Queue[Ended | None]"]:
        """A queue on which the run's end is put, or None when the run should be read again."""
        queue: asyncio.Queue[Ended | None] = asyncio.Queue()
        queues = self._waiting.setdefault(run_id, [])
        queues.append(queue)
        try:
            yield queue
        finally:
            queues.remove(queue)
            if not queues:
                self._waiting.pop(run_id, None)

    @contextmanager
    def answering(self, id: str) -> Iterator["asyncio.Future[Answer]"]:
        """A future of the answer to the update of that id."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        asked = self._asked.setdefault(id, [])
        asked.append(answer)
        try:
            yield answer
        finally:
            asked.remove(answer)
            if not asked:
                self._asked.pop(id, None)

    def _announced(self, message: Message) -> None:
        try:
            news = decode_news(message.data)
        except KeyMissing:
            self.look_again()  # whoever reads is told
            return
        if isinstance(news, Ended):
            self.tell(news)
            return
        for asked in self._asked.get(news.id, ()):
            if not asked.done():
                asked.set_result(news)

    def look_again(self) -> None:
        """Whoever waits is to read: announcements may have been lost while the connection was down, or cannot be read."""
        self._expected.clear()
        for queues in self._waiting.values():
            for queue in queues:
                queue.put_nowait(None)
