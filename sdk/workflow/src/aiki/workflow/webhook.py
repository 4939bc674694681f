"""Webhooks: waits of a run's code that a URL answers."""

import asyncio
from datetime import UTC, datetime
from typing import Generic, TypeVar

from aiki.client.webhooks import HookRecord
from aiki.journal import RunMachine
from aiki.schema import Schema
from aiki.types.duration import Duration, seconds
from aiki.types.errors import EventTimeout, WebhookExpired
from aiki.webhooks.ticket import event_of

__all__ = ["Webhook"]

Payload = TypeVar("Payload")

UNDER_WAY = 60.0
"""Seconds for which an answer that was taken in time may be on its way to the run."""
A_MOMENT = 0.001
"""Seconds for which a hook that has expired is waited for: an answer to an earlier attempt of the code is seen in that time."""


class Webhook(Generic[Payload]):
    """Made by `ctx.webhook(name, type)`. Its URL takes one answer, until it expires."""

    def __init__(self, machine: RunMachine, name: str, record: HookRecord, schema: Schema[Payload]) -> None:
        self.name = name
        self.url = record.url
        self.expires_at = datetime.fromtimestamp(record.expires_at, UTC)
        self._machine = machine
        self._record = record
        self._schema = schema
        self._answer: bytes | None = None

    def __repr__(self) -> str:
        return f"<webhook {self.name!r}>"  # not its URL: whoever has that may answer

    async def wait(self, *, timeout: Duration | None = None) -> Payload:
        """The answer, also one that has come already; each call gives the same one.

        Raises `EventTimeout` when none comes in time (the hook is still good), and `WebhookExpired` a minute after it expired without one.
        """
        if self._answer is None:
            self._answer = await self._take(None if timeout is None else seconds(timeout, "timeout", least=0.001))
        return self._schema.decode(self._answer, f"answer to webhook {self.name!r}")

    async def _take(self, limit: float | None) -> bytes:
        machine, name = self._machine, event_of(self.name, self._record.ordinal)
        left = max(self._record.expires_at + UNDER_WAY - machine.now, A_MOMENT)
        patience = asyncio.timeout(left if limit is None else min(left, limit))
        try:
            async with patience:
                return (await machine.inbox.take([name])).payload
        except TimeoutError as error:
            if not patience.expired():
                raise
            if limit is not None and limit < left:
                raise EventTimeout(f"webhook {self.name!r} had no answer within {limit:g} s", events=[name], timeout=limit) from error
            run_id = machine.state.run_id
            raise WebhookExpired(f"webhook {self.name!r} expired without an answer", hook=self.name, run_id=run_id) from error
