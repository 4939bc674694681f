"""A standing pull: demand is kept at a durable consumer as long as the window has room.

Each epoch has an inbox of its own. When the demand at the server is no longer known (reconnect, missed heartbeats, a shrunk window) a new
epoch begins: its predecessor's inbox loses its subscriber, so the server forgets the pulls that still wait there.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import partial

import msgspec
import nats.errors

from aiki.transport.connection import Connection
from aiki.transport.delivery import JetStreamDelivery
from aiki.transport.exchange import Exchange
from aiki.transport.headers import parse_headers, parse_status
from aiki.transport.message import publication
from aiki.transport.port import Delivery

__all__ = ["JetStreamConsumption"]

EXPIRES = 30.0
# A pull is lost without a word when its consumer's leader dies: the heartbeats that stop are the one sign.
HEARTBEAT = 2.0
PATIENCE = 2 * HEARTBEAT + 0.5
CHECK = 1.0
FIRST_PAUSE, LAST_PAUSE = 0.1, 2.0
FLUSH_PATIENCE = 2.0

log = logging.getLogger("aiki.transport")


class JetStreamConsumption:
    """See `aiki.transport.port.Consumption`."""

    def __init__(
        self,
        connection: Connection,
        exchange: Exchange,
        next_subject: str,
        inbox: str,
        handler: Callable[[Delivery], None],
        window: int,
        ended: Callable[["JetStreamConsumption"], None],
    ) -> None:
        self._connection = connection
        self._exchange = exchange
        self._next = next_subject
        self._inbox = inbox
        self._handler = handler
        self._window = window
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._outstanding = 0
        self._demand = 0
        self._epoch = 0
        self._sid: int | None = None
        self._heard = self._loop.time()
        self._pause = FIRST_PAUSE
        self._warned = False
        self._stopped = False
        self._retry: asyncio.TimerHandle | None = None
        self._watch = self._loop.call_later(CHECK, self._check)
        if connection.live:
            self._renew()

    @property
    def window(self) -> int:
        return self._window

    @window.setter
    def window(self, size: int) -> None:
        self._window = size
        if self._demand > max(size - self._outstanding, 0):
            self._renew()
        else:
            self._pull()

    @property
    def outstanding(self) -> int:
        return self._outstanding

    async def stop(self) -> None:
        if self._stopped:
            return
        self._stopped = True
        self._window = 0
        self._watch.cancel()
        if self._retry is not None:
            self._retry.cancel()
        sid, self._sid = self._sid, None
        if sid is not None and self._connection.live:
            # What is already on its way is given back at once (`_receive`) rather than after the ack deadline.
            self._connection.unlisten(sid, deaf=False)
            try:
                await asyncio.wait_for(self._connection.flush(), FLUSH_PATIENCE)
            except (nats.errors.Error, OSError, TimeoutError) as error:
                log.debug("stopping a consumption: %r", error)
        if sid is not None:
            self._connection.unlisten(sid)
        self._ended(self)

    def lost(self) -> None:
        """The connection dropped, and with it all demand."""
        self._demand = 0
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def restored(self) -> None:
        """Connected again."""
        self._pause = FIRST_PAUSE
        self._renew()

    def end(self) -> None:
        """The connection was closed by its owner."""
        self._stopped = True
        self._watch.cancel()
        if self._retry is not None:
            self._retry.cancel()

    def _renew(self) -> None:
        """Begin a new epoch: withdraw all demand, then demand what there is room for."""
        self._retry = None
        if self._stopped or not self._connection.live:
            return
        if self._sid is not None:
            self._connection.unlisten(self._sid, deaf=False)
            stale = self._sid
            self._loop.call_later(PATIENCE, self._connection.unlisten, stale)
        self._epoch += 1
        self._demand = 0
        self._heard = self._loop.time()
        self._sid = self._connection.listen(f"{self._inbox}.{self._epoch}", partial(self._receive, self._epoch))
        self._pull()

    def _pull(self) -> None:
        room = self._window - self._outstanding
        if self._demand * 2 >= room or self._retry is not None or self._stopped or not self._connection.live:
            return
        batch = room - self._demand
        if not self._demand:
            self._heard = self._loop.time()
        self._demand = room
        body = msgspec.json.encode({"batch": batch, "expires": int(EXPIRES * 1e9), "idle_heartbeat": int(HEARTBEAT * 1e9)})
        command, _ = publication(self._next, f"{self._inbox}.{self._epoch}", "", len(body))
        self._connection.write(command, body, b"\r\n")

    def _receive(self, epoch: int, subject: bytes, reply: bytes, block: bytes, data: bytes) -> None:
        if not reply:
            if epoch == self._epoch:
                self._status(block)
            return
        if epoch == self._epoch:
            self._demand -= 1
            self._heard = self._loop.time()
        delivery = JetStreamDelivery(subject, reply, block, data, self._exchange.settle, self._freed)
        self._outstanding += 1
        if self._stopped or self._outstanding > self._window:
            delivery.nak()
            return
        try:
            self._handler(delivery)
        except Exception:
            log.exception("the handler of %s raised; the message will be delivered again", self._next)
            delivery.nak(1.0)
        if self._demand * 2 < self._window - self._outstanding:
            self._pull()

    def _status(self, block: bytes) -> None:
        """The server's word about a pull rather than a message."""
        status = parse_status(block)
        self._heard = self._loop.time()
        if status == 100:
            self._well()
            return
        remaining = parse_headers(block).get("Nats-Pending-Messages")
        if status in (404, 408) and remaining is not None:
            self._well()
            self._demand = max(self._demand - int(remaining), 0)
            self._pull()
            return
        reason = "no such consumer, or JetStream is away" if status == 503 else block[9:].partition(b"\r\n")[0].decode("utf-8", "replace")
        if not self._warned:
            self._warned = True
            log.warning("pulling from %s: %s; trying again until it works", self._next, reason)
        self._demand = 0
        if self._retry is None:
            self._retry = self._loop.call_later(self._pause, self._renew)
            self._pause = min(self._pause * 2, LAST_PAUSE)

    def _well(self) -> None:
        self._pause = FIRST_PAUSE
        if self._warned:
            self._warned = False
            log.info("pulling from %s again", self._next)

    def _freed(self) -> None:
        self._outstanding -= 1
        if self._demand * 2 < self._window - self._outstanding:
            self._pull()

    def _check(self) -> None:
        """Heartbeats are due while there is demand; without them the server has forgotten us."""
        self._watch = self._loop.call_later(CHECK, self._check)
        if self._demand and self._connection.live and self._loop.time() - self._heard > PATIENCE:
            log.info("no heartbeat from %s: pulling anew", self._next)
            self._renew()
