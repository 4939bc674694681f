"""The timer service: takes the messages of all schedules of a region. Any number of replicas share them; none leads."""

import asyncio
import contextlib
import logging
import signal
from types import TracebackType
from typing import Self

from aiki.actors import topology
from aiki.actors.held import bury_unreadable
from aiki.actors.server_clock import ServerClock
from aiki.client import Client
from aiki.services.timer.turn import Turn
from aiki.transport.port import Consumption, Delivery
from aiki.types.duration import Duration, seconds
from aiki.types.errors import AikiError, DefinitionError
from aiki.types.messages import decode_mail
from aiki.types.subjects import SCHEDULE_CONSUMER

__all__ = ["TimerService"]

COLLECT_EVERY = 3600.0
"""Seconds between two looks for large payloads that no run refers to any more."""

TRY_AGAIN = 1.0
"""Seconds after which a message comes again whose turn has failed."""

_log = logging.getLogger("aiki.timer")


class TimerService:
    """Fires the schedules of the client's region. `async with TimerService(client):`, or `start` and `stop`, or `run` until SIGTERM.

    `max_turns`: schedules that are looked after at a time.
    """

    def __init__(self, client: Client, *, max_turns: int = 1000) -> None:
        self._client = client
        self._max_turns = max_turns
        self._turn = Turn(client)
        self._open: dict[Delivery, asyncio.Task[None]] = {}
        self._consumption: Consumption | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._clock_reader: asyncio.Task[None] | None = None
        self._collector: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to serve. Raises `StreamMissing`, which names `aiki init`."""
        if self._keeper is not None:
            raise DefinitionError("this timer service was started already; make a new one", where="timer")
        transport, subjects = self._client.transport, self._client.subjects
        await topology.check(transport, subjects)
        spec = topology.consumer(subjects.mail_stream, SCHEDULE_CONSUMER, subjects.schedule_mail)
        await transport.ensure_consumer(spec)
        if isinstance(clock := self._client.clock, ServerClock):
            await clock.measure()
            self._clock_reader = asyncio.create_task(clock.follow())
        self._keeper = asyncio.create_task(self._keep_alive())
        self._collector = asyncio.create_task(self._collect())
        self._consumption = await transport.consume(subjects.mail_stream, SCHEDULE_CONSUMER, self._take, window=self._max_turns)

    async def stop(self, grace: Duration = 10.0) -> None:
        """Take nothing new, give the turns that are going on `grace` to end, and leave the rest to other replicas."""
        limit = seconds(grace, "grace")
        if self._consumption is not None:
            await self._consumption.stop()
        if self._open:
            await asyncio.wait(list(self._open.values()), timeout=limit)
        for delivery, turn in list(self._open.items()):
            turn.cancel()
            delivery.nak()
        for task in (self._keeper, self._clock_reader, self._collector):
            if task is not None:
                task.cancel()

    async def run(self, grace: Duration = 10.0) -> None:
        """Serve until SIGTERM or SIGINT, then stop gracefully."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(NotImplementedError):  # Windows
                loop.add_signal_handler(number, ended.set)
        async with self:
            await ended.wait()
            await self.stop(grace)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.stop()

    def _take(self, delivery: Delivery) -> None:
        self._open[delivery] = asyncio.create_task(self._serve(delivery))

    async def _serve(self, delivery: Delivery) -> None:
        key = delivery.subject.removeprefix(self._client.subjects.schedule_mail)
        try:
            message = decode_mail(delivery.data)
        except ValueError as error:
            _log.error("schedule %s: a message cannot be decoded and is put aside: %s", key, error)
            await bury_unreadable(self._client.transport, self._client.subjects, delivery, self._client.subjects.mail_stream, error)
            self._open.pop(delivery, None)
            return
        try:
            await self._turn.take(key, message)
        except AikiError as error:
            _log.warning("schedule %s: %s; tried again in %g s", key, error, TRY_AGAIN)
            delivery.nak(TRY_AGAIN)
        except Exception:
            _log.exception("schedule %s: a turn failed; tried again in %g s", key, TRY_AGAIN)
            delivery.nak(TRY_AGAIN)
        else:
            delivery.ack()
        finally:
            self._open.pop(delivery, None)

    async def _collect(self) -> None:
        while True:
            await asyncio.sleep(COLLECT_EVERY)
            try:
                found = await self._client.collect_blobs()
            except AikiError as error:
                _log.warning("large payloads could not be collected, tried again in an hour: %s", error)
            else:
                if found.blobs:
                    _log.info("collected %d large payloads of %d bytes", found.blobs, found.bytes)

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(topology.ACK_WAIT / 3)
            for delivery in self._open:
                delivery.in_progress()
