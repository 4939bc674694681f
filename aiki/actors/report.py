"""How a task worker tells a run of its work, while it holds the dispatch.

To a host in this very process directly, to another by request (the warm path: "done" means committed), and when neither answers by a
message in the run's mailbox.
"""

import asyncio
import contextlib

from aiki.actors import topology
from aiki.actors.envelope import DONE, WORKING
from aiki.actors.host import Host
from aiki.transport.port import Message
from aiki.transport.surely import surely
from aiki.types.errors import NoResponders, OutcomeUnknown, RequestTimeout
from aiki.types.messages import Dispatch, Mail, encode

__all__ = ["mail", "tell"]

ANSWER_WITHIN = topology.ACK_WAIT
"""Seconds without an answer ("done" or "working") from the run's host after which the mailbox is used."""


async def tell(host: Host, dispatch: Dispatch, message: Mail, kind: str) -> None:
    """Returns when the run has it, or when it is in its mailbox. `kind` tells messages about one dispatch apart."""
    if dispatch.host == host.subject:
        envelope = _TaskEnvelope(message)
        if host.deliver_warm(dispatch.run_id, envelope) and await envelope.answer:
            return
    elif await _ask(host, dispatch, message):
        return
    await mail(host, dispatch, message, kind)


async def mail(host: Host, dispatch: Dispatch, message: Mail, kind: str) -> None:
    """Put a message into the run's mailbox."""
    data = encode(message)
    message_id = f"{dispatch.run_id}/{dispatch.serial}/{kind}"
    await surely(lambda: host.transport.publish(dispatch.mailbox, data, message_id=message_id))


async def _ask(host: Host, dispatch: Dispatch, message: Mail) -> bool:
    data = dispatch.run_id.encode() + b"\n" + encode(message)

    def still_working(answer: Message) -> bool:
        return answer.data == WORKING

    try:
        answer = await host.transport.request(dispatch.host, data, timeout=ANSWER_WITHIN, pending=still_working)
    except (NoResponders, RequestTimeout, OutcomeUnknown):
        return False
    return answer.data == DONE


class _TaskEnvelope:
    """A report to a run of this very process: `answer` becomes True when the run has it, False when the mailbox must be used."""

    __slots__ = ("answer", "message")
    durable = True

    def __init__(self, message: Mail) -> None:
        self.message = message
        self.answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def done(self) -> None:
        with contextlib.suppress(asyncio.InvalidStateError):
            self.answer.set_result(True)

    def working(self) -> None:
        """The dispatch is kept alive by its worker until the answer comes."""

    def refuse(self, delay: float) -> None:
        with contextlib.suppress(asyncio.InvalidStateError):
            self.answer.set_result(False)
