"""The outbox: what a run's commits owe to others, sent after the commit and before its trigger is acknowledged.

An entry is sent with a message id, so that sending it again is harmless; a host that loads a state sends its outbox again. The entry leaves
the state with a later commit, once this host has itself seen its publish acknowledged.
"""

import asyncio

from aiki import telemetry
from aiki.journal import OutAlarm, OutDispatch, RunMachine, RunState
from aiki.transport.port import Ack, Transport
from aiki.transport.surely import surely
from aiki.types.errors import Conflict, OutcomeUnknown
from aiki.types.messages import Dispatch, Wake, attempts_made, encode
from aiki.types.subjects import Subjects

__all__ = ["DEFAULT_QUEUE", "EARLY", "Outbox"]

EARLY = 2.0
"""Seconds by which alarms are set ahead of their instants, for the host to wait for the rest.

The server fires dense schedules up to 0.25 s late, and a run that was evicted must be read and replayed before its instant, of which one
worker does some ten thousand a second at best.
"""

DEFAULT_QUEUE = "default"
PAUSE = 0.05
"""Seconds before what has no answer is sent again."""


class Outbox:
    """Sends what one activation owes."""

    def __init__(self, transport: Transport, subjects: Subjects, host_subject: str) -> None:
        self._transport = transport
        self._subjects = subjects
        self._host_subject = host_subject

    async def flush(self, machine: RunMachine, sent: set[int], *, again: bool) -> None:
        """Send the entries whose serial is not in `sent`, and add them to it. `again`: a predecessor may have sent them."""
        owed = [entry for entry in machine.state.outbox if entry.serial not in sent]
        if not owed:
            return
        while owed:
            answers = [(entry, self._publish(entry, machine, again)) for entry in owed]
            owed = []
            for entry, answer in answers:
                try:
                    if answer is not None:
                        await answer
                    sent.add(entry.serial)
                except Conflict:
                    sent.add(entry.serial)  # its message is still in the stream
                except OutcomeUnknown:
                    owed.append(entry)
            if owed:
                await asyncio.sleep(PAUSE)

    def _publish(self, entry: OutDispatch | OutAlarm, machine: RunMachine, again: bool) -> "asyncio.Future[Ack] | None":
        state = machine.state
        if isinstance(entry, OutAlarm):
            return self._transport.schedule(
                f"{self._subjects.timer_prefix}{state.run_id}.{entry.serial}",
                entry.due - EARLY,
                f"{self._subjects.run_mail(state.workflow, state.version)}{state.run_id}",
                encode(Wake(entry.serial, entry.due)),
                message_id=f"{state.run_id}/{entry.serial}",
            )
        step = machine.pending((entry.address, entry.ordinal))
        if step is None or step.serial != entry.serial:
            return None  # answered or superseded already
        data = encode(
            Dispatch(
                state.run_id,
                state.workflow,
                step.address,
                step.ordinal,
                step.serial,
                step.name,
                step.input,
                attempts_made(step.failed) + 1,
                self._host_subject,
                f"{self._subjects.run_mail(state.workflow, state.version)}{state.run_id}",
                step.retry,
                step.timeout,
                step.key,
            )
        )
        subject = f"{self._subjects.task_mail(step.queue or DEFAULT_QUEUE, step.name)}{state.run_id}.{entry.serial}"
        message_id = f"{state.run_id}/{entry.serial}"
        headers = telemetry.outgoing(state.trace)
        if entry.due is not None:
            delay = f"{self._subjects.delay_prefix}{state.run_id}.{entry.serial}"
            return self._transport.schedule(delay, entry.due, subject, data, headers=headers, message_id=message_id)
        # While the first copy of a dispatch is in the stream, a second is refused; the id alone would do so for the dedupe window only.
        return self._transport.publish(subject, data, headers=headers, message_id=message_id, expect=0 if again else None)

    async def notify(self, mailbox: str, data: bytes, message_id: str) -> None:
        """Put a message into somebody's mailbox; returns when it is stored."""
        await surely(lambda: self._transport.publish(mailbox, data, message_id=message_id))

    def forget_alarms(self, state: RunState) -> None:
        """A run has ended: cancel the alarms that are still set, as far as that can be done without waiting."""
        for alarm in state.alarms:
            subject = f"{self._subjects.timer_prefix}{state.run_id}.{alarm.serial}"
            task = asyncio.ensure_future(self._transport.cancel_schedule(self._subjects.mail_stream, subject))
            task.add_done_callback(_swallow)


def _swallow(task: "asyncio.Future[None]") -> None:
    # An alarm that is not cancelled wakes a finished run, which does nothing.
    if not task.cancelled():
        task.exception()
