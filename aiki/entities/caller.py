"""Who asks and tells actors, from any process.

An ask goes straight to the host that has answered for this actor last. Without one, or when that does not answer, it goes to the actor's
mailbox under the same id: whoever takes it from there says where the actor is. A tell goes to the mailbox.
"""

import asyncio
import contextlib
import secrets
from collections import OrderedDict

from msgspec.structs import replace

from aiki.clock import Clock
from aiki.entities.failures import raised
from aiki.entities.state import short_name
from aiki.transport.port import Message, Subscription, Transport
from aiki.transport.surely import surely
from aiki.types.actor_messages import WORKING, Answer, Call, Path, decode_answer, encode
from aiki.types.errors import ActorTimeout, KeyMissing, NoResponders, OutcomeUnknown, RequestTimeout
from aiki.types.names import from_token
from aiki.types.subjects import Subjects

__all__ = ["Caller"]

PATIENCE = 3.0
"""Seconds without a sign of life after which a host is not waited for any more; hosts give one each second."""
ASK_AGAIN, ASK_AGAIN_MOST = 2.0, 30.0
"""Seconds after which it is looked whether an ask was taken from the mailbox and its answer lost."""
HOSTS_MOST = 20_000
TELL_WITHIN = 60.0
"""Seconds for which a tell is repeated while its outcome is unknown: well inside the stream's dedupe window, so it is stored once."""


class Caller:
    """Asks and tells over one connection."""

    def __init__(self, transport: Transport, subjects: Subjects, clock: Clock) -> None:
        self._transport = transport
        self._subjects = subjects
        self._clock = clock
        self._subject = f"{subjects.client_prefix}a{secrets.token_hex(6)}"
        self._hosts: OrderedDict[str, str] = OrderedDict()
        self._waiting: dict[str, tuple[str, asyncio.Future[Answer]]] = {}
        self._subscription: asyncio.Future[Subscription] | None = None
        self._prefix = secrets.token_urlsafe(9)
        self._count = 0

    def new_id(self) -> str:
        """An id that no other call has."""
        self._count += 1
        return f"{self._prefix}{self._count:x}"

    def host_of(self, actor: str) -> str | None:
        """The subject of the host that has the actor, as far as is known."""
        return self._hosts.get(actor)

    def learn(self, actor: str, host: str) -> None:
        """That host has the actor."""
        if not host:
            return
        self._hosts[actor] = host
        self._hosts.move_to_end(actor)
        if len(self._hosts) > HOSTS_MOST:
            self._hosts.popitem(last=False)

    def unlearn(self, actor: str) -> None:
        self._hosts.pop(actor, None)

    # -- tell

    async def tell(self, actor: str, handler: str, payload: bytes, *, id: str | None = None, keep: bool = False) -> None:
        """Put a message into the actor's mailbox. When this has returned, it is applied, once, whatever dies after that."""
        call = Call(self.new_id() if id is None else id, actor, handler, payload, self._clock.now(), keep=keep)
        data, subject = encode(call), self._subjects.actor_mailbox(actor) + short_name(call.id)
        message_id = f"tell/{actor}/{call.id}"
        await surely(lambda: self._transport.publish(subject, data, message_id=message_id), within=TELL_WITHIN)

    # -- ask

    async def ask(
        self,
        actor: str,
        handler: str,
        payload: bytes,
        *,
        id: str | None = None,
        timeout: float | None,
        keep: bool = False,
        paths: tuple[Path, ...] = (),
    ) -> bytes:
        """The handler's result as JSON. `timeout`: seconds, None: as long as it takes.

        `id`: the call was perhaps made before, by that name; it is applied once. Raises `ActorFailed`, `ActorHeld`, `ActorStopped`,
        `ActorDeadlock`, `UnknownHandler`, `ActorTimeout`, `PayloadError`.
        """
        call = Call(self.new_id() if id is None else id, actor, handler, payload, self._clock.now(), ask=True, keep=keep, paths=paths)
        host = self._hosts.get(actor)
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                answer = None
                if host is not None:
                    answer, call = await self._directly(host, call)
                if answer is None:
                    answer = await self._by_mail(call, limit)
        except TimeoutError:
            if not limit.expired():
                raise
            type, _, name = actor.partition(".")
            raise ActorTimeout(
                f"actor {from_token(type)} {from_token(name)!r} has not answered {handler!r} within {timeout:g} s: "
                "is it busy, or does no worker serve it?",
                actor=from_token(type),
                id=from_token(name),
                handler=handler,
                timeout=timeout,
            ) from None
        if answer.host != host:
            self.learn(actor, answer.host)
        if answer.error is not None:
            raise raised(answer, actor, handler)
        return answer.value

    async def _directly(self, host: str, call: Call) -> tuple[Answer | None, Call]:
        """Ask that host. Without an answer: the call as it is to be sent from now on."""
        sent = True
        try:
            message = await self._transport.request(host, encode(call), timeout=PATIENCE, pending=_is_working)
            if len(message.data) > 8:
                return decode_answer(message.data), call
            # Absent: it may have been forwarded, or a turn with it may have been broken off.
        except NoResponders:
            sent = False
        except (RequestTimeout, OutcomeUnknown):
            pass
        if self._hosts.get(call.actor) == host:
            del self._hosts[call.actor]
        return None, replace(call, again=True) if sent else call

    async def _by_mail(self, call: Call, limit: asyncio.Timeout) -> Answer:
        await self._listen()
        loop = asyncio.get_running_loop()
        subject = self._subjects.actor_mailbox(call.actor) + short_name(call.id)
        call = replace(call, reply=self._subject)
        future: asyncio.Future[Answer] = loop.create_future()
        self._waiting[call.id] = (call.actor, future)
        pause, number, posted = ASK_AGAIN, 0, False
        try:
            while True:
                if not posted:
                    ends = limit.when()
                    ttl = None if ends is None or call.keep else max(ends - loop.time(), 0.0) + 1.0
                    message_id = f"ask/{self._subject}/{call.id}/{number}"
                    with contextlib.suppress(OutcomeUnknown):
                        await self._transport.publish(subject, encode(call), message_id=message_id, ttl=ttl)
                    posted, number = True, number + 1
                    call = replace(call, again=True)
                done, _ = await asyncio.wait((future,), timeout=pause)
                if done:
                    return future.result()
                pause = min(pause * 2, ASK_AGAIN_MOST)
                with contextlib.suppress(RequestTimeout, OutcomeUnknown):
                    posted = await self._transport.last(self._subjects.mail_stream, subject) is not None
        finally:
            self._waiting.pop(call.id, None)

    async def _listen(self) -> None:
        """Subscribe to answers, once."""
        while self._subscription is None or not self._subscription.done():
            if self._subscription is None:
                self._subscription = asyncio.get_running_loop().create_future()
                try:
                    self._subscription.set_result(await self._transport.subscribe(self._subject, self._on_answer))
                except BaseException:
                    waiting, self._subscription = self._subscription, None
                    waiting.cancel()
                    raise
            else:
                await asyncio.wait((self._subscription,))

    def _on_answer(self, message: Message) -> None:
        try:
            answer = decode_answer(message.data)
        except KeyMissing:
            return  # nobody here can tell whose it is; its asker's patience ends
        actor, future = self._waiting.get(answer.id, ("", None))
        if future is None:
            return
        if answer.working:
            self.learn(actor, answer.host)
        elif not future.done():
            future.set_result(answer)

    async def waits_in_mail(self, actor: str, call_id: str) -> bool:
        """Whether that call is in the actor's mailbox."""
        subject = self._subjects.actor_mailbox(actor) + short_name(call_id)
        return (await surely(lambda: self._transport.last(self._subjects.mail_stream, subject))).answer is not None

    async def waiting_mail(self, actor: str) -> set[str]:
        """The calls in an actor's mailbox, by their short names."""
        prefix = self._subjects.actor_mailbox(actor)
        listed = await surely(lambda: self._transport.subjects(self._subjects.mail_stream, prefix + "*"))
        return {subject.removeprefix(prefix) for subject in listed.answer}


def _is_working(message: Message) -> bool:
    return message.data.startswith(WORKING + b" ")
